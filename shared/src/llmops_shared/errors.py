"""The one error that a user can mend."""


class LlmopsError(Exception):
    """What went wrong, with the value, where it came from and the way out; commands print it and exit with 2."""
