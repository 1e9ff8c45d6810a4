"""Retrieval: embedders and vector stores, written by preprocess and read by serve."""
