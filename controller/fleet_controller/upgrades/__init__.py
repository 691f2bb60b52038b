"""Agents brought to a release in waves: what operators ask, the loop that goes on with it under
each leader, and what is said of it."""
