"""What is served is what the sources say: a checkout needs no Node to run, so it is committed."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

import fleetctl.wall

WALL = Path(fleetctl.wall.__file__).parent
PAGE, BUILT = WALL / "page", WALL / "built"
MOST_BYTES = 150_000


def test_the_page_is_built_from_these_sources() -> None:
    sources = b"".join(one.read_bytes() for one in sorted((PAGE / "src").glob("*.ts")))
    named = f"/* sources: {hashlib.sha256(sources).hexdigest()} */"
    assert (BUILT / "page.js").read_text().startswith(named), "run: make page"


def test_the_toolchain_makes_what_is_committed(tmp_path: Path) -> None:
    if not (PAGE / "node_modules" / ".bin" / "esbuild").exists():
        pytest.skip("the toolchain of the page is not installed: make page")
    made = tmp_path / "page.js"
    command = ["npm", "run", "-s", "bundle", "--", f"--outfile={made}", "--log-level=error"]
    subprocess.run(command, cwd=PAGE, check=True, timeout=120)
    assert made.read_bytes() == (BUILT / "page.js").read_bytes(), "run: make page"
    subprocess.run(["npm", "run", "-s", "check"], cwd=PAGE, check=True, timeout=120)


def test_the_page_is_small_and_asks_nobody_else() -> None:
    files = [BUILT / name for name in ("index.html", "page.css", "page.js")]
    assert sum(one.stat().st_size for one in files) < MOST_BYTES
    for one in files:
        assert "http://" not in one.read_text() and "https://" not in one.read_text()
