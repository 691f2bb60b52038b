"""What both daemons stand on as servers: the gate before their calls, bounds, memory, watchdog.

What belongs here is what the controller and the agent share as processes that serve; fleetctl needs
none of it, and nothing here knows a message or a method.
"""
