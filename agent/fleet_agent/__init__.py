"""The agent on one dom0: makes its assignment true and reports what is."""
