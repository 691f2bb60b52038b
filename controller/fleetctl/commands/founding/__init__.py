"""The control plane itself: founded, grown, looked at, its members replaced."""
