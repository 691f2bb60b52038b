"""Which host runs which VMs, and why some run nowhere.

What only one of a drain, a rollout or a lost host needs belongs to their own packages.
"""
