"""What a sandbox is to be: what was asked for, and what this machine admits."""
