"""How the agent makes itself known to controllers: the port, and gRPC behind it."""
