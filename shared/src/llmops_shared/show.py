"""`llmops-show`."""
