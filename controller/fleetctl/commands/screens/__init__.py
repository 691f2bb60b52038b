"""Commands that stay: what they show is drawn again and again, until somebody leaves."""
