"""Domains as processes of QEMU: started, cloned from a template, adopted, spoken to over QMP. Each
has a folder, written before it is relied on. Here is no libvirt."""
