"""A domain's definition and the mark that says whose it is."""
