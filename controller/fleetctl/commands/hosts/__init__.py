"""Of hosts and what they hold: drains, removal, loss, breaker, doctor, tune, images."""
