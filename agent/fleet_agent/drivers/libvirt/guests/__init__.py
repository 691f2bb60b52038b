"""Guests of QEMU that run qemu-guest-agent: commands in them, and files. Not here: what is said to
an agent, and read of its replies."""
