"""What people and agents ask to be changed: each change is decided, written and audited here.

A change never asks a query. What is decided without I/O belongs to `core`.
"""
