"""One thing that is wrong, and how to mend it."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What the doctor found."""

    check: str
    """Name of the check."""
    problem: str
    """What is wrong, with the value and where it is from."""
    fix: str
    """The way out."""
