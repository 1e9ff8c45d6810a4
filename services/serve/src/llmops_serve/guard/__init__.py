"""What a request or an answer may not hold."""
