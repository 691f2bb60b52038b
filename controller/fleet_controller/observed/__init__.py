"""What hosts say, as last reported: states as vectors, counts, and who was reached by standbys.

Memory only, rebuilt from reports after a failover. What is wanted belongs to `mirror`.
"""
