"""What an agent's process does around its parts: it serves until it is told to stop, and says where
it is reached. Not here: which parts there are, and how they are made and joined."""
