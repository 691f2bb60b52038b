"""Clones and golden images as files that share blocks, or as plain copies."""
