"""What importing an image takes, whatever keeps it: jobs, content and digests, tools."""
