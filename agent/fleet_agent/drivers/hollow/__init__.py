"""Storage, hypervisor, images and consoles in memory, with latencies and faults from a seed."""
