"""A whole cluster on loopback: etcd, controllers, hollow hosts in a few processes.

`planning` decides what fits this machine, `processes` knows which processes make it, `state` what
lies on disk; `lifecycle` brings it up and down, and `report` says how it stands. Everything of one
sandbox lies in one folder, and a process belongs to it only by the mark in its environment, so
nothing foreign is ever signalled.
"""
