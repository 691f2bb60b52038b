"""What many VMs answered to one command, equal answers together. Here: how answers are bounded,
told apart and told on. Not here: how a command reaches a guest."""
