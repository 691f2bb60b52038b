"""Many agents with simulated drivers in one process: how a laptop stands in for thousands of hosts.

The simulated drivers themselves are in `drivers/hollow`.
"""
