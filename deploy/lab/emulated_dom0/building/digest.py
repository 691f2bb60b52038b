"""Cache keys: a changed recipe has another key, so that nothing stale is ever used."""

import hashlib
from pathlib import Path


def digest(*parts: str | Path) -> str:
    """Twelve hexadecimal digits over texts, files, and whole folders (names, modes, contents)."""
    total = hashlib.sha256()
    for part in parts:
        for item in _items(part):
            total.update(len(item).to_bytes(8, "little"))
            total.update(item)
    return total.hexdigest()[:12]


def _items(part: str | Path) -> list[bytes]:
    if isinstance(part, str):
        return [part.encode()]
    if part.is_file():
        return [part.name.encode(), part.read_bytes()]
    items = []
    for path in sorted(part.rglob("*")):
        if path.is_file():
            executable = path.stat().st_mode & 0o100
            items += [f"{path.relative_to(part)} {executable:o}".encode(), path.read_bytes()]
    return items
