"""Decisions only: what exists against what is assigned, as data. No I/O."""
