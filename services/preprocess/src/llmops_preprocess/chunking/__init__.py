"""Chunkers: ways to cut documents into pieces that stand alone."""
