#!/usr/bin/env python3
"""Takes wall.png from a real sandbox: `.venv/bin/python docs/images/wall.py [HOSTS]`.

4,480 hollow hosts with the latencies of a dom0 start as many VMs as there are for them; the wall is
taken by Debian's Chromium as soon as more than a third of them run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
FLEETCTL = str(Path(sys.executable).with_name("fleetctl"))
SAMPLE = HERE.parent.parent / "deploy" / "samples" / "spv.yaml"
PROFILE = """\
[latency.clone]
base = 0.02
per_vm = 0.05
concurrency = 8
spread = 0.5

[latency.start]
base = 0.02
per_vm = 0.6
concurrency = 4
spread = 0.5

[latency.await_ready]
base = 1.5
per_vm = 0.01
concurrency = 4
spread = 0.5

[[faults]]
step = "start"
rate = 0.001
kind = "no_memory"
message = "4 MiB more are wanted than the host has"
"""
SHARE = 0.36  # of the VMs, running
SECONDS = 900.0


def main() -> None:
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 4480
    with tempfile.TemporaryDirectory(prefix="megafleet-wall-") as folder:
        profile = Path(folder) / "profile.toml"
        profile.write_text(PROFILE)
        places = {"XDG_STATE_HOME": f"{folder}/state", "XDG_CONFIG_HOME": f"{folder}/config"}
        environment = {**os.environ, **places}
        try:
            for words in (
                ("sandbox", "up", "--name", "wall", "--hosts", str(hosts), "--profile", profile),
                ("apply", "-f", SAMPLE),
            ):
                subprocess.run([FLEETCTL, *words], env=environment, timeout=SECONDS, check=True)
            take(environment, hosts * 250 * 25 // 28)
        finally:
            down = [FLEETCTL, "sandbox", "down", "--name", "wall"]
            subprocess.run(down, env=environment, timeout=SECONDS)


def take(environment: dict[str, str], total: int) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Debian's chromium is not installed: apt-get install chromium")
    serving = [FLEETCTL, "wall", "--no-open"]
    with subprocess.Popen(serving, env=environment, stdout=subprocess.PIPE, text=True) as wall:
        assert wall.stdout is not None
        address = wall.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1500, "height": 1120}, color_scheme="dark")
            page.goto(address)
            page.wait_for_function("() => megafleetWall.state().hosts > 0")
            page.wait_for_timeout(6000)  # so that the line of what ran begins before
            scale = [FLEETCTL, "scale", "spv", "--total", str(total), "--no-wait"]
            subprocess.run(scale, env=environment, timeout=SECONDS, check=True)
            enough = f"() => megafleetWall.state().counts[5] > {int(total * SHARE)}"
            page.wait_for_function(enough, timeout=SECONDS * 1000)
            page.screenshot(path=HERE / "wall.png")
            browser.close()
        wall.terminate()


if __name__ == "__main__":
    main()
