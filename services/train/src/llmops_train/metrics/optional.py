"""Packages of an extra: which, and the message when they are not installed."""

import importlib.metadata
import importlib.util

from llmops_shared.errors import LlmopsError


def need(package: str, extra: str, for_what: str) -> None:
    """Raises LlmopsError, before any work, when a package of an extra is missing."""
    if importlib.util.find_spec(package) is None:
        raise LlmopsError(f"{for_what}: needs {package}; install it with `pip install 'llmops-train[{extra}]'`, or leave {for_what} out")


def version_of(distribution: str) -> str:
    """Installed version."""
    return importlib.metadata.version(distribution)
