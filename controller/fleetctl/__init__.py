"""fleetctl: what an operator types. It meets the controller only on the wire."""
