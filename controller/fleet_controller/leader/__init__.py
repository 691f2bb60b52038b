"""One leadership, made and run: its memory, its planner, its writer, its trust in the store.

Each part is given what it needs. What people ask for belongs to `changes`, decisions to `core`.
"""
