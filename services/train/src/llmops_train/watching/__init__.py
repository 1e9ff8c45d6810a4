"""What is seen of a run while it trains: a line or a bar, curves, examples."""
