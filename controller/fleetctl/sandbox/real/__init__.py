"""A sandbox whose one host is this machine: real kernels in QEMU, through its own libvirt.

Here is what such a host needs: packages, libvirt's daemons, a guest made from Debian's packages,
how many of it fit, and which domains are the sandbox's own. What is done with its VMs is in
`tour`; the processes are started and found as those of any sandbox.
"""
