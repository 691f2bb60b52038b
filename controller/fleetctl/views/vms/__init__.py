"""What VMs tell: in lists and by themselves, what they use, what is done to them, what they answer,
consoles."""
