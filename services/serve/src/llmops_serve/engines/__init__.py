"""What runs a model: the port and its implementations."""
