"""What applying fleet files would do, told before it is done: to what, and what it leaves alone."""
