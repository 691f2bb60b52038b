"""Links to hosts: dialling, reports, assignments pushed, health; the port to agents and gRPC.

What a report means belongs to `observed`; what a host is given, to `leader`.
"""
