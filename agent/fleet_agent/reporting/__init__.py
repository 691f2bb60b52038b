"""Every VM's state on a board, and reports of it for each controller that reads."""
