"""Pictures of all VMs for whoever watches: what a cell says, where it stands, what has changed.

Here: made from the leader's memory, while somebody looks. Not here: how frames are encoded.
"""
