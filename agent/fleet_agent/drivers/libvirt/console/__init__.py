"""Consoles of domains: opened for people, their logs read for signs, and swept."""
