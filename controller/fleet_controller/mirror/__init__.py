"""The store, mirrored in memory: read, followed, written in guarded transactions, audited.

The port to the store and its adapters belong to `store`.
"""
