"""The states of many VMs on their way to whoever watches. Here: how they are encoded, for those who
make frames and those who check them. Not here: what a state means, and who is sent what."""
