"""The dom0's image: Debian trees, ZFS modules, the agent's wheels, an initramfs, a disk."""
