"""The manifest of a checkpoint: which tensors it has, in which files their blocks lie, and how far the run was."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from llmops_train.checkpoint.piece import Box
from llmops_train.checkpoint.progress import Progress, progress_of


@dataclass(frozen=True)
class Part:
    """One block in a file."""

    name: str
    """The tensor it belongs to."""
    box: Box
    """Where in it."""
    key: str
    """Its name in the file."""
    file: str = ""
    """The file; empty for the one the manifest is in."""


@dataclass(frozen=True)
class File:
    """A file that belongs to a checkpoint, beside the one with the manifest."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What the last file of a checkpoint says about all of them."""

    request: str
    """Digest of the settings and inputs that decide the result."""
    progress: Progress
    parts: list[Part]
    files: list[File]
    world_size: int
    """Processes that wrote it; another number may read it."""

    def metadata(self) -> dict[str, str]:
        """As metadata of a safetensors file, whose values are texts."""
        return {"manifest": json.dumps({**asdict(self), "parts": [pack_part(part) for part in self.parts]})}

    def places(self) -> dict[str, list[Part]]:
        """The blocks of each tensor."""
        found: dict[str, list[Part]] = {}
        for part in self.parts:
            found.setdefault(part.name, []).append(part)
        return found


def manifest_of(metadata: dict[str, str]) -> Manifest:
    """The reverse of `metadata`."""
    saved = json.loads(metadata["manifest"])
    return Manifest(
        saved["request"],
        progress_of(saved["progress"]),
        [unpack_part(part) for part in saved["parts"]],
        [File(**file) for file in saved["files"]],
        saved["world_size"],
    )


def pack_part(part: Part) -> list[Any]:
    """A list, for a large run has a hundred thousand of them."""
    return [part.name, part.box.shape, part.box.start, part.box.size, part.key, part.file]


def unpack_part(saved: list[Any]) -> Part:
    name, shape, start, size, key, file = saved
    return Part(name, Box(tuple(shape), tuple(start), tuple(size)), key, file)
