"""Preprocess: from raw text to a DatasetManifest, and to a RetrievalIndex."""
