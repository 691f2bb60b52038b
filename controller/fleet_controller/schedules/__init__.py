"""Totals that change by time, carried out by the leader: the loop that looks for what is due."""
