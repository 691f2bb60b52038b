"""The Storage and Hypervisor ports and their adapters."""
