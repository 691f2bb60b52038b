"""What fleets tell: in lists and in the status, their plans, rollouts and failures."""
