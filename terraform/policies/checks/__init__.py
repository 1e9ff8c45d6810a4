"""Checks of our own for checkov, which loads folders with this file only."""
