"""What stands before every method alike: a change's id is taken over, a late change is refused."""
