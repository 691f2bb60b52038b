"""Megafleet for other programs, in Python: a cluster reached, asked, changed and followed.

`megafleet.client` is what is promised to stay; all else is how it is done, and fleetctl's as well.
"""
