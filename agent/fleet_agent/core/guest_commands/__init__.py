"""One command or one file in one guest: how a command is typed at a console, what is said to a
guest's agent, and what is read of either. Not here: how a guest is reached."""
