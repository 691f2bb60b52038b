"""The gRPC service that fleetctl and agents call: who may call, and how refusals are told.

A method here reads its request, calls one change, query or relay, and writes the answer. What is
decided, and what is kept, belongs elsewhere.
"""
