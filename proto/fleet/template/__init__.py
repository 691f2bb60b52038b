"""Texts of a template that differ from VM to VM: placeholders, user data, values by index."""
