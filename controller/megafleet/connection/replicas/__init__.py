"""The replicas of a cluster: channels to them, whose turn it is, how they fail.

What is called, and how often it may be, belongs to `calls`.
"""
