"""What operators ask of hosts, passed on by the leader: consoles, doctor, tuning, images, top.

Nothing here changes what the store holds.
"""
