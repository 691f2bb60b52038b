"""One command in one guest: how it is typed at a console, and what is read of what is printed
there. Not here: how a guest is reached."""
