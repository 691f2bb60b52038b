"""How an agent becomes another release: by one command that its settings name, and by no other."""
