"""A VM as a process of QEMU: its arguments, what makes a template another, what a clone is told."""
