"""Writing a checkpoint: a file for each process, or for each node in front of S3, and at last the one that completes it."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import torch  # noqa: TID253 - this module is imported late

from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join
from llmops_train.checkpoint.manifest import File, Manifest, Part
from llmops_train.checkpoint.names import commit_name, companion_name
from llmops_train.checkpoint.piece import Piece
from llmops_train.checkpoint.progress import Progress
from llmops_train.checkpoint.team import Team

Tensors = dict[str, torch.Tensor]

PART_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Place:
    """Where checkpoints go."""

    folder: str
    """On a disk that all nodes see, or `s3://`."""
    scratch: str
    """On each node's own disk, for files on their way to S3."""
    part_bytes: int = PART_BYTES
    """Of a part of an upload."""

    @property
    def remote(self) -> bool:
        """Whether it is no disk."""
        return bool(urlsplit(self.folder).scheme)


def write_checkpoint(place: Place, request: str, progress: Progress, pieces: list[Piece], values: Tensors, team: Team) -> str:
    """Writes this process's pieces together with the others', and returns the URI that completes the checkpoint.

    On a disk, every process writes its own file below the folder. Before S3, processes write to their node's disk, and one
    of them uploads a single object for the node. The file of the first process or node has the manifest and comes last, so that a
    checkpoint is complete when that file exists. Raises LlmopsError on every process when one fails; nothing half-written stays.
    """
    folder, remote = place.folder, place.remote
    parts = [Part(piece.name, piece.box, f"{team.rank}:{piece.name}") for piece in pieces]
    tensors = {part.key: values[part.name] for part in parts}
    if remote and team.local_size > 1:
        tensors = merge_node(progress.step, tensors, parts, team, place.scratch)
        node = slice(team.rank - team.local_rank, team.rank - team.local_rank + team.local_size)
        parts = [part for member in team.gather(parts, team.background)[node] for part in member]
        leads, kind, number = team.local_rank == 0, "node", team.node
    else:
        leads, kind, number = True, "rank", team.rank

    file, mine, error = None, [], None
    if leads and team.rank != 0:
        try:
            file = write_file(place, tensors, {}, lambda digest: companion_name(progress.step, kind, number, digest), progress.step)
            mine = [replace(part, file=file.name) for part in parts]
        except LlmopsError as failure:
            error = str(failure)
    others = team.gather((file, mine, error), team.background)
    failed = next((text for _, _, text in others if text is not None), None)

    uri, error = "", failed
    if team.rank == 0 and failed is None:
        all_parts = parts + [part for _, found, _ in others for part in found]
        manifest = Manifest(request, progress, all_parts, [file for file, _, _ in others if file is not None], team.size)
        try:
            check_shared(folder, manifest, remote)
            commit = write_file(place, tensors, manifest.metadata(), lambda digest: commit_name(progress.step, digest), progress.step)
            uri = join(folder, commit.name)
        except LlmopsError as failure:
            error = str(failure)
    team.agree(error, team.background)
    return uri


def merge_node(step: int, tensors: Tensors, parts: list[Part], team: Team, scratch: str) -> Tensors:
    """The tensors of all processes of this node, on the process that uploads them; the others put theirs on the node's disk."""
    from safetensors import safe_open

    path, error = Path(scratch) / f".step-{step:08d}.member-{team.rank:05d}.partial", None
    if team.local_rank != 0:
        try:
            save(path, tensors, {})
        except LlmopsError as failure:
            error = str(failure)
    team.agree(error, team.background)
    if team.local_rank != 0:
        return {}
    merged = dict(tensors)
    for rank in range(team.rank + 1, team.rank + team.local_size):
        member = path.with_name(f".step-{step:08d}.member-{rank:05d}.partial")
        with safe_open(member, framework="pt") as file:
            merged |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        member.unlink()  # its pages stay mapped until the node's object is written
    return merged


def write_file(place: Place, tensors: Tensors, metadata: dict[str, str], name_of: Callable[[str], str], step: int) -> File:
    """Writes one file under the name its digest gives, and lets it appear at once. Raises LlmopsError when there is no room."""
    with partial_file(place.scratch if place.remote else place.folder, step) as path:
        save(path, tensors, metadata)
        digest, size = sha256(path), path.stat().st_size
        name = name_of(digest)
        target = join(place.folder, name)
        if place.remote:
            from llmops_train.checkpoint.s3 import upload

            upload(path, target, place.part_bytes)
        else:
            os.replace(path, target)
            sync(Path(place.folder))
    return File(name, size, digest)


@contextlib.contextmanager
def partial_file(folder: str, step: int) -> Iterator[Path]:
    """A file with a passing name beside the place it will have; gone at the end, whatever happens."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".step-{step:08d}.", suffix=".partial")
        os.fchmod(handle, 0o644)  # mkstemp makes private files; the other processes' users read these
        os.close(handle)
    except OSError as error:
        raise LlmopsError(no_room(folder, error)) from error
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def save(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """Writes a safetensors file through to the disk. Raises LlmopsError when it cannot."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata)
        sync(path)
    except (OSError, SafetensorError) as error:
        path.unlink(missing_ok=True)
        raise LlmopsError(no_room(str(path.parent), error)) from error


def sync(path: Path) -> None:
    """Waits until the disk has a file's, or a folder's, content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def no_room(folder: str, error: Exception) -> str:
    """What to say when a checkpoint cannot be written."""
    return (
        f"{folder}: the checkpoint cannot be written ({error}); the one before is untouched: free space, lower keep_checkpoints or give "
        f"another checkpoint_uri, and run the same command again to go on from it"
    )


def check_shared(folder: str, manifest: Manifest, remote: bool) -> None:
    """Raises LlmopsError when the first process does not see the others' files: each node has a disk of its own there."""
    if remote:
        return
    unseen = [file.name for file in manifest.files if not Path(folder, file.name).exists()]
    if unseen:
        raise LlmopsError(
            f"{folder}: the first process does not see {unseen[0]}, which another one wrote there; the nodes need a shared folder or s3:// "
            f"(checkpoint_uri)"
        )
