"""The loop: what exists against what is assigned, and the steps between, until they agree.

Plans are decided in `core/plan`; hypervisors and pools are reached through `drivers`.
"""
