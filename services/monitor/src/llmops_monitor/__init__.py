"""Monitor: from exchange logs to shadow and drift Reports."""
