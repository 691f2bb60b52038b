"""One replica: it stands by or leads, and passes calls on to whoever leads.

How a leader is elected belongs to `election`, what a leader does to `leader`.
"""
