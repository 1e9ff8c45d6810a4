"""Metrics: from predictions and references to what each row adds, and the formula that makes one figure of it."""
