"""Agents brought to a release: which hosts, in which waves, and when that goes no further."""
