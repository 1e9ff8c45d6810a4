"""Checks of images and hosts before money is spent."""
