"""The generations of a fleet: which are kept, how two differ, and the settings of them all."""
