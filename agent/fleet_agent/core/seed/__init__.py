"""What a VM is told about itself: the files of its seed, and what a seed is called."""
