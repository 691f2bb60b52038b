"""Answers from the leader's memory alone: no I/O, no waiting, no change.

A query sees what is mirrored and observed; it never sees links, the store or the leader.
"""
