"""The errors that a user can mend."""


class LlmopsError(Exception):
    """What went wrong, with the value, where it came from and the way out; commands print it and exit with 2."""


class VerdictNo(LlmopsError):  # noqa: N818 - no error, an answer
    """A gate that says no and writes no document: what was refused and why; commands print it and exit with 3."""


class Stopped(Exception):  # noqa: N818 - no error: what a stop asked for ends with
    """The job was asked to stop and did so in good order: nothing is wrong, and the same command goes on."""
