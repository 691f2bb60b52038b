"""What a sandbox keeps on disk: its record, its folder, its certificates, its context."""
