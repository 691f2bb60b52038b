"""Answers from the leader's memory alone: no I/O, no waiting, no change.

A query is given the memory and the last planning. It reads the table of links, and never calls a
link, the store or the leader.
"""
