"""Tools a fresh machine may lack."""

import os

import pytest


def lacking(what: str, how: str) -> None:
    """Skips the test with the reason and how to get the tool; where CI says it installed them all, that is a failure."""
    reason = f"needs {what}: {how}"
    if os.environ.get("LLMOPS_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)
