"""What is done to hosts and what they hold: hosts, breaker, doctor, tune, images."""
