"""The emulated machine while it runs: QEMU, ssh, the agent in it, and the cluster that it joins."""
