"""The controller: divides totals among hosts, keeps the division in etcd, tells the agents."""
