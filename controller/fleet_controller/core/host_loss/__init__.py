"""When a host counts as lost, failing or healthy, and which VMs may run twice because of it."""
