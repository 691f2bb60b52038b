"""Domains through libvirt: acts, listing, events, readiness, consoles, samples."""
