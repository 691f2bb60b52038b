"""VMs that stand where they no longer should, or unevenly: how many leave which host for which."""
