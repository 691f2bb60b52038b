"""Totals that change by time: points of schedules, and totals that hold for a while."""
