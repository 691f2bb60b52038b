"""What following a console takes, whatever the hypervisor: log files, terminals, one follower."""
