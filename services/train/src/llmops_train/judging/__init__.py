"""A model as judge: fenced prompts, verdicts in a fixed form, both orders, agreement with people."""
