"""What fleetctl does on this machine without a cluster: certificates, backups as files."""
