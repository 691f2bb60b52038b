"""What is done to single VMs: vms, console, top."""
