"""Definitions of single guests, as Xen's xl and libvirt have them, read and told as fleet files.
What is sent to a cluster is elsewhere."""
