"""The cluster as a whole: status, watch, events, history, backup, recover, version."""
