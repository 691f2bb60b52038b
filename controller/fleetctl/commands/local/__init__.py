"""What calls no controller: certs, contexts, completion, restore."""
