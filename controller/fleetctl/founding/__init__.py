"""A cluster founded on a machine; its controllers and members of etcd, added and replaced.

Here: what each machine is given, what is written where, what etcd itself is asked. Not here: hosts,
and what a controller is asked.
"""
