"""Clones and golden images as ZFS volumes."""
