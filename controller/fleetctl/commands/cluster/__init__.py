"""The cluster as a whole: status, events, history, backup, recover, version."""
