"""What is shown of VMs and done to them: vms, control, run, copy, console, top."""
