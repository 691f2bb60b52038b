#!/usr/bin/env python3
"""Takes demo.svg from a real run of the demo: `.venv/bin/python docs/images/capture.py`.

Runs `fleetctl sandbox demo` in a tmux of its own, keeps the screen as it is when about half of the
VMs run, and draws it as SVG. Arguments go to the demo, as `--hosts 448`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent
FLEETCTL = Path(sys.executable).with_name("fleetctl")
COLUMNS, ROWS = 100, 40
DONE = "The sandbox stays up until Ctrl-C."
SECONDS = 900.0
# The share that is wanted in the picture; the closest one seen is taken.
HALF = 55.0

THEME = TerminalTheme(
    (22, 24, 28),
    (214, 218, 224),
    [(69, 73, 82), (224, 96, 88), (86, 190, 110), (222, 184, 92),
     (96, 150, 240), (190, 120, 220), (80, 190, 200), (214, 218, 224)],
    [(126, 132, 144), (240, 120, 110), (120, 214, 140), (240, 206, 120),
     (130, 176, 250), (210, 150, 236), (120, 214, 222), (245, 247, 250)],
)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="megafleet-capture-") as folder:
        screen, progress = captured(Path(folder), sys.argv[1:])
    lines = list(Text.from_ansi(screen).split("\n"))
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(
        file=io.StringIO(),
        record=True,
        width=COLUMNS,
        force_terminal=True,
        color_system="truecolor",
    )
    for line in lines:
        console.print(line, no_wrap=True, crop=True, soft_wrap=True)
    target = HERE / "demo.svg"
    target.write_text(
        console.export_svg(
            title="make demo", theme=THEME, code_format=local_fonts(), unique_id="demo"
        )
    )
    print(f"{target}: {len(lines)} lines, at {progress:.1f} %")


def captured(home: Path, arguments: list[str]) -> tuple[str, float]:
    """The screen closest to half-way, and how far that was."""
    tmux = ["tmux", "-S", str(home / "tmux"), "-f", "/dev/null"]
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(home / "state"),
        "MEGAFLEET_CONFIG": str(home / "config.toml"),
        "TERM": "xterm-256color",
    }
    command = [".venv/bin/fleetctl", "sandbox", "demo", *arguments]
    size = ["-x", str(COLUMNS), "-y", str(ROWS)]
    subprocess.run(
        [*tmux, "new-session", "-d", *size, *command],
        env=environment,
        cwd=FLEETCTL.parents[2],
        check=True,
    )
    try:
        return half_way(tmux)
    finally:
        subprocess.run([*tmux, "send-keys", "C-c"], check=False)
        ended(tmux)


def half_way(tmux: list[str]) -> tuple[str, float]:
    best, at = "", -1000.0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        shown = subprocess.run(
            [*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True
        ).stdout
        share = re.search(r"VMs wanted.* ([0-9.]+)%", re.sub(r"\x1b\[[0-9;]*m", "", shown))
        if share and abs(float(share[1]) - HALF) < abs(at - HALF):
            best, at = shown, float(share[1])
        if DONE in shown:
            return best, at
        time.sleep(0.1)
    raise SystemExit(f"the demo did not end within {SECONDS:.0f} s")


def ended(tmux: list[str]) -> None:
    """Until the demo has taken its sandbox down."""
    while subprocess.run([*tmux, "has-session"], capture_output=True).returncode == 0:
        time.sleep(0.5)


def local_fonts() -> str:
    """rich's SVG without the fonts it would have a viewer fetch."""
    bare = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return bare.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")


if __name__ == "__main__":
    main()
