"""The ports to hypervisors, storage, images and consoles, and their adapters."""
