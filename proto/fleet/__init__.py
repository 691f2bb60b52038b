"""The wire contract: messages, transport, and the words both sides derive alike.

What belongs here is what the controller, the agent and fleetctl must agree on to the letter.
It imports none of them.
"""
