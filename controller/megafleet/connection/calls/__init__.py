"""Calls that find a replica which answers: with one answer, with many, with many both ways."""
