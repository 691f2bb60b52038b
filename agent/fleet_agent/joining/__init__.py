"""How a machine becomes a host and stays one: it joins by a token, and its certificate renews.

Here: tokens found, controllers recognised, keys and certificates kept. cryptography is loaded only
where a key or a request is made: an agent that starts has no use for it.
"""
