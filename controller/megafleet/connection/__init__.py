"""Calls to a cluster: which replica, deadlines, failures in words.

`cluster` is what is called; `calls` makes a call, and `replicas` knows whom to ask. What is shown
of an answer belongs to fleetctl's views, and what programs are promised to `client`.
"""
