"""What to do about the difference between what exists and what is assigned."""
