"""What is drawn again and again on a terminal, and the terminal given to a console."""
