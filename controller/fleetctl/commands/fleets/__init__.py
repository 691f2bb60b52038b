"""What makes fleets, changes and deletes them: apply, scale, plan, rollout, delete, fleets."""
