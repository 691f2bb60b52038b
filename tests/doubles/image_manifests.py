"""Manifests of contents that a test has in memory."""

from __future__ import annotations

from fleet.image_content.manifest import CHUNK, Manifest, Part, chunk_digest


def manifest_for(**parts: bytes) -> Manifest:
    def part(name: str, content: bytes) -> Part:
        chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
        return Part(name, len(content), b"".join(map(chunk_digest, chunks)))

    return Manifest(tuple(part(name, content) for name, content in parts.items()))
