"""The errors that a user can mend."""


class LlmopsError(Exception):
    """What went wrong, with the value, where it came from and the way out; commands print it and exit with 2."""


class VerdictNo(LlmopsError):  # noqa: N818 - no error, an answer
    """A gate that says no and writes no document: what was refused and why; commands print it and exit with 3."""
