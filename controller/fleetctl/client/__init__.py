"""Calls to a cluster: which one, which controller, deadlines, failures in words.

`cluster` is what commands use; `calls` makes a call, and `replicas` knows whom to ask. What is
shown of an answer belongs to `views`.
"""
