"""Answers as text and as JSON. Pure: nothing is asked and nothing is printed here."""
