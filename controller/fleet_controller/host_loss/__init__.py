"""Hosts that fail: judged by time, by the share of failures, and by operators; the breaker.

The decisions are in `core/host_loss`; here they are carried out, written and announced.
"""
