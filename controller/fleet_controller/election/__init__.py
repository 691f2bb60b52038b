"""Who leads: the lease, the leader's key, and whether this replica still holds it."""
