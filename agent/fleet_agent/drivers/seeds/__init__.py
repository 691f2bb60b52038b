"""Seeds: a small disk for each VM that says who it is."""
