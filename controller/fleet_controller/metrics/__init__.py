"""What Prometheus is shown: read from a replica and its leader's memory in one go, then written as
metrics without looking at either again. It asks nothing of hosts or of the store.
"""
