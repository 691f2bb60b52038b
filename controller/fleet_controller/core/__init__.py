"""Decisions only: pure functions over snapshots. No I/O, no clock, no event loop."""
