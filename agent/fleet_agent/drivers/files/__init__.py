"""Clones and golden images as files: sharing blocks, as qcow2 overlays, or as plain copies."""
