"""Calls to a cluster: which one, which controller, deadlines, failures in words.

What is shown of an answer belongs to `views`.
"""
