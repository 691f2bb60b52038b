"""Two hypervisors of a host as one: one has the VMs that boot, the other copies of a template."""
