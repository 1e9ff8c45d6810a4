"""Evaluation: questions chosen, answers generated and scored, figures with intervals, a page to read."""
