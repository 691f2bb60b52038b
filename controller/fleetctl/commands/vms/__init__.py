"""What is shown of VMs and done to them: vms, control, run, console, top."""
