"""What Prometheus is shown of one host, or of all hollow hosts of a process together. It asks
drivers for their room, and nothing else.
"""
