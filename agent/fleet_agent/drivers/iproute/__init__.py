"""Bridges of the host through `ip` of iproute2."""
