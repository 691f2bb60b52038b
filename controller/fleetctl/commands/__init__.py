"""The commands, a folder for each noun. Folders never import one another; main loads by name."""
