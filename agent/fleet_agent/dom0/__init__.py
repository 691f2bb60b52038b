"""The dom0 that the agent runs on: read, judged, tuned."""
