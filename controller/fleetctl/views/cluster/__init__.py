"""What the cluster tells: its status and health, what happened, who changed what, recovery."""
