"""Rules of our own on synthesized resources, beside those of checkov. Nothing here imports more than Python brings."""
