"""One module for each noun or verb that an operator types; main loads them by name."""
