"""The agent's gRPC service: who may call, and what is asked of one host.

A method here checks its caller and hands on; the loop that makes assignments true is `reconcile`.
"""
