"""The page people answer review items on."""
