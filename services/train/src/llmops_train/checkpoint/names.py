"""How a checkpoint's files are called: `step-STEP-DIGEST.safetensors` completes one, and its other files say which step they are of."""

import re
from dataclasses import dataclass

from llmops_shared.store import Entry, join, store_for

COMMIT = re.compile(r"^step-(?P<step>\d{8})-(?P<digest>[0-9a-f]{16})\.safetensors$")
COMPANION = re.compile(r"^step-(?P<step>\d{8})\.(?:rank|node)-\d{5}-[0-9a-f]{16}\.safetensors$")
PARTIAL = re.compile(r"^\.step-\d{8}.*\.partial$")

DIGEST_LENGTH = 16  # of the sha256's 64 digits


@dataclass(frozen=True)
class Complete:
    """A checkpoint that is complete: its last file is there."""

    uri: str
    step: int
    digest: str
    """First digits of the sha256 of that file."""


def commit_name(step: int, sha256: str) -> str:
    """The file whose appearance completes a checkpoint; its name holds its own digest."""
    return f"step-{step:08d}-{sha256[:DIGEST_LENGTH]}.safetensors"


def companion_name(step: int, kind: str, number: int, sha256: str) -> str:
    """A file of another process (`rank`) or node (`node`)."""
    return f"step-{step:08d}.{kind}-{number:05d}-{sha256[:DIGEST_LENGTH]}.safetensors"


def files_in(folder: str) -> list[tuple[str, Entry]]:
    """Names and entries directly in the folder."""
    entries = store_for(folder).entries(folder)
    return [(entry.uri.rpartition("/")[2], entry) for entry in entries if entry.uri.rpartition("/")[0] == join(folder)]


def complete_ones(folder: str) -> list[Complete]:
    """The complete checkpoints of a folder, newest first."""
    found = []
    for name, entry in files_in(folder):
        if match := COMMIT.match(name):
            found.append(Complete(entry.uri, int(match["step"]), match["digest"]))
    return sorted(found, key=lambda one: (one.step, one.uri), reverse=True)


def step_of(name: str) -> int | None:
    """The step a file belongs to; None for a file that is no part of a checkpoint."""
    match = COMMIT.match(name) or COMPANION.match(name)
    return int(match["step"]) if match else None
