"""One dom0's agent as a process: settings, wiring, the server, logs.

What the agent does belongs to `reconcile`; several hollow agents in one process to `hollow`.
"""
