"""Descriptors of one exchange that need no model: rules and lexicons, each a function of its own."""
