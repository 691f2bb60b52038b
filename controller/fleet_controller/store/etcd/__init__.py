"""etcd behind the Store port: calls, failover between members, the watch, snapshots."""
