"""What many VMs answered to one command, or to a file copied into them, equal answers together.
Here: how answers are bounded, told apart and told on. Not here: how a guest is reached."""
