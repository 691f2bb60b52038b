"""Where intent is kept: the Store port, its keys, and its adapters."""
