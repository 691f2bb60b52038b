"""The network of one machine that boots over it: a tap, DHCP and a web server, for the lifetime of
a context. To be used in a network namespace that is the test's own."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TAP = "mfnetboot"
ADDRESS = "10.213.77.1"
_RANGE = "10.213.77.50,10.213.77.99,1h"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def network(served: Path, script: str) -> Iterator[None]:
    """DHCP names `script`, which is served from the folder over HTTP."""
    _ip("link", "set", "lo", "up")
    _ip("tuntap", "add", TAP, "mode", "tap")
    _ip("addr", "add", f"{ADDRESS}/24", "dev", TAP)
    _ip("link", "set", TAP, "up")
    web = ThreadingHTTPServer((ADDRESS, 0), partial(_Quiet, directory=str(served)))
    url = f"http://{ADDRESS}:{web.server_port}/{script}"
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    dhcp = subprocess.Popen(
        ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0",
         f"--interface={TAP}", "--bind-interfaces", f"--dhcp-range={_RANGE}", "--leasefile-ro",
         "--no-ping", "--dhcp-option=option:router", f"--dhcp-boot={url}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        dhcp.terminate()
        dhcp.wait(20)
        web.shutdown()
        thread.join(20)
        web.server_close()
        _ip("link", "del", TAP)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
