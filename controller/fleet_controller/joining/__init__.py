"""How machines become hosts: tokens made and revoked, joining counted and signed, renewals.

Here: what changes the store for that, and what is signed. Not here: how a caller reaches it.
"""
