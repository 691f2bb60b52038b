"""What is told to people: failing VMs by kind, and which events outlive the leader that told
them."""
