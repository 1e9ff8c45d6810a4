"""Reading a checkpoint: the newest whole one, checked byte for byte, in blocks of any cut."""

import logging
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import folder_of, join, store_for
from llmops_train.checkpoint.manifest import Manifest, Part, manifest_of
from llmops_train.checkpoint.names import Complete, complete_ones
from llmops_train.checkpoint.piece import Box
from llmops_train.checkpoint.team import Team

logger = logging.getLogger(__name__)


class DamagedError(Exception):
    """What is wrong with a checkpoint, and where."""


class Opened:
    """A checkpoint that was found whole."""

    def __init__(self, uri: str, manifest: Manifest) -> None:
        self.uri = uri
        self.manifest = manifest
        self.places = manifest.places()
        self._files: dict[str, Any] = {}

    @property
    def names(self) -> set[str]:
        return set(self.places)

    def read(self, name: str, box: Box) -> torch.Tensor:
        """A block of a tensor, put together from the blocks that were written, however they were cut."""
        if name not in self.places:
            raise LlmopsError(f"{self.uri}: lacks {name}; it was written by a run with another model or optimizer, so choose another out=")
        parts = self.places[name]
        same = next((part for part in parts if part.box == box), None)
        if same is not None:
            return self.tensor(same)
        return box.of(self.assemble(parts))

    def assemble(self, parts: list[Part]) -> torch.Tensor:
        """The whole tensor. Raises LlmopsError when blocks are missing."""
        first = self.tensor(parts[0])
        whole = torch.empty(parts[0].box.shape, dtype=first.dtype)
        filled = 0
        for part in parts:
            block = part.box.of(whole.view(part.box.shape))
            block.copy_(self.tensor(part))
            filled += block.numel()
        if filled != whole.numel():
            raise LlmopsError(
                f"{self.uri}: has {filled} of the {whole.numel()} elements of {parts[0].name}; delete it and use the one before"
            )
        return whole

    def tensor(self, part: Part) -> torch.Tensor:
        """One block from its file."""
        from safetensors import safe_open

        uri = join(folder_of(self.uri), part.file) if part.file else self.uri
        if uri not in self._files:
            self._files[uri] = safe_open(store_for(uri).fetch(uri), framework="pt")
        tensor: torch.Tensor = self._files[uri].get_tensor(part.key)
        return tensor


def newest(folder: str, request: str, team: Team) -> Opened | None:
    """The newest checkpoint that is whole; a damaged one is named, and the one before is used. None when there is none at all.

    Raises LlmopsError when all are damaged, or when it belongs to a run with other settings or inputs.
    """
    found = team.gather(complete_ones(folder) if team.rank == 0 else [], team.control)[0]
    for number, candidate in enumerate(found):
        opened, problem = look(candidate, team)
        problem = next((text for text in team.gather(problem, team.control) if text is not None), None)
        if problem is not None:
            before = found[number + 1].uri if number + 1 < len(found) else None
            logger.warning("%s%s", problem, f": going back to {before}" if before else "")
            continue
        assert opened is not None
        if opened.manifest.request != request:
            raise LlmopsError(f"{candidate.uri}: belongs to a run with other settings or inputs; delete it, or choose another out=")
        return opened
    if found:
        raise LlmopsError(f"{folder}: every checkpoint is damaged (see above); delete the folder to start this run from its beginning")
    return None


def look(candidate: Complete, team: Team) -> tuple[Opened | None, str | None]:
    """Opens a checkpoint and checks this process's share of its files; what is wrong is returned, for the others to know."""
    try:
        manifest = open_manifest(candidate)
        for number, file in enumerate(manifest.files):
            if number % team.size == team.rank:
                check(join(folder_of(candidate.uri), file.name), file.sha256)
        return Opened(candidate.uri, manifest), None
    except (DamagedError, LlmopsError) as error:
        return None, str(error)


def open_manifest(candidate: Complete) -> Manifest:
    """The manifest in a checkpoint's last file, that file checked against its name. Raises DamagedError."""
    from safetensors import safe_open

    path = check(candidate.uri, candidate.digest)
    with safe_open(path, framework="pt") as file:
        return manifest_of(file.metadata())


def check(uri: str, digest: str) -> Path:
    """The local path of a file whose sha256 starts with the digest. Raises DamagedError when it does not, or is gone."""
    try:
        path = store_for(uri).fetch(uri)
    except LlmopsError as error:
        raise DamagedError(f"{uri}: is missing from its checkpoint") from error
    found = sha256(path)
    if not found.startswith(digest):
        raise DamagedError(f"{uri}: is damaged (sha256 {found[:16]}, written as {digest[:16]})")
    return path
