"""A whole cluster on loopback: etcd, controllers, hollow hosts in a few processes.

`sizing` decides what fits this machine, `parts` which processes make it, `lifecycle` starts and
stops them, `report` says how it stands. Everything of one sandbox lives in one folder, and a
process belongs to it only by the mark in its environment, so nothing foreign is ever signalled.
"""
