"""What operators ask of hosts, passed on by the leader: consoles, commands, doctor, tuning, images,
top.

Nothing here changes what the store holds, but for the line of the audit trail of a command.
"""
