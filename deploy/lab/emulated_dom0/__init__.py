"""A real Xen dom0 with ZFS and libvirt, emulated: built once, booted afresh at each start.

Runs on the system's Python with nothing but its standard library, so that it works before any
environment of the project exists.
"""
