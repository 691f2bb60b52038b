"""What a change carries besides its request: until when it may be begun, and its id."""
