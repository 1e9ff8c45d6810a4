"""Where the rows of a shard lie in its bytes: safetensors tensors, or a WebDataset tar file with a sample a row."""

import json
import math
import tarfile
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_shared.contracts import DatasetManifest
from llmops_shared.errors import LlmopsError
from llmops_train.feed.sequences import Tokens

DTYPES: dict[str, type[np.generic]] = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "I64": np.int64}

HEAD_BYTES = 64 * 1024  # enough of a shard's beginning to know where its rows are

RECORD = 512  # of a tar file

Table = dict[str, Tokens]
Range = tuple[int, int]
"""First byte and one past the last."""


class Layout(Protocol):
    """The places of rows in one shard."""

    def ranges(self, start: int, stop: int) -> list[Range]:
        """The bytes that hold these rows, in order of their place."""

    def decode(self, where: str, start: int, stop: int, content: list[NDArray[np.uint8]]) -> Table:
        """The rows in the bytes of `ranges`, as views. Raises LlmopsError when they are something else."""


@dataclass(frozen=True)
class Wanted:
    """What a shard must hold."""

    names: tuple[str, ...]
    """Tensors of a row."""
    length: int
    """Tokens of a row."""
    num_rows: int
    """Rows of the shard."""
    view: str
    """View of its dataset."""

    @classmethod
    def of(cls, manifest: DatasetManifest, num_rows: int) -> "Wanted":
        names = ("input_ids", "document_ids") + (() if manifest.view == "text" else ("loss_mask",))
        return cls(names, manifest.sequence_length, num_rows, manifest.view)


@dataclass(frozen=True)
class SafetensorsLayout:
    """Tensors of shape [rows, length], one after the other."""

    tensors: tuple[tuple[str, int, type[np.generic]], ...]
    """Name, first byte and type, in order of their place."""
    length: int

    def ranges(self, start: int, stop: int) -> list[Range]:
        widths = [(place, self.length * np.dtype(kind).itemsize) for _, place, kind in self.tensors]
        return [(place + start * width, place + stop * width) for place, width in widths]

    def decode(self, where: str, start: int, stop: int, content: list[NDArray[np.uint8]]) -> Table:
        del where
        return {
            name: piece.view(kind).reshape(stop - start, self.length) for (name, _, kind), piece in zip(self.tensors, content, strict=True)
        }


@dataclass(frozen=True)
class TarLayout:
    """Samples of equal size; the members of one, each a NumPy file, stand in the same order in every sample."""

    members: tuple[tuple[str, int, int, type[np.generic]], ...]
    """Name, first byte of the header and of the numbers in the sample, and their type."""
    stride: int
    """Bytes from one sample to the next."""
    length: int

    def ranges(self, start: int, stop: int) -> list[Range]:
        return [(start * self.stride, stop * self.stride)]

    def decode(self, where: str, start: int, stop: int, content: list[NDArray[np.uint8]]) -> Table:
        num_rows, (piece,) = stop - start, content
        for row in (0, num_rows - 1) if num_rows else ():  # of equal samples in between a wrong one would move the last
            for name, header, _, _ in self.members:
                place = row * self.stride + header
                found = member_at(where, piece[place : place + RECORD].tobytes())
                if tensor_name(found.name) != name:
                    raise LlmopsError(f"{where}: sample {start + row} has {found.name} where {name} is expected; write the tar files again")
        rows = piece.reshape(num_rows, self.stride)
        return {name: rows[:, place : place + self.length * np.dtype(kind).itemsize].view(kind) for name, _, place, kind in self.members}


def read_layout(where: str, head: bytes, wanted: Wanted) -> Layout:
    """The layout of a shard from its first HEAD_BYTES. Raises LlmopsError when it is not what the manifest says."""
    if where.endswith(".tar"):
        return read_tar_layout(where, head, wanted)
    return read_safetensors_layout(where, head, wanted)


def read_safetensors_layout(where: str, head: bytes, wanted: Wanted) -> SafetensorsLayout:
    """Reads a safetensors header (https://github.com/huggingface/safetensors#format)."""
    size = int.from_bytes(head[:8], "little")
    try:
        header = json.loads(head[8 : 8 + size])
        found = {name: entry for name, entry in header.items() if name != "__metadata__"}
        lacking = [name for name in wanted.names if name not in found]
        if lacking:
            raise LlmopsError(f"{where}: lacks {', '.join(lacking)}, which a {wanted.view} dataset has; rerun preprocess")
        tensors = []
        for name in wanted.names:
            entry = found[name]
            if entry["shape"] != [wanted.num_rows, wanted.length]:
                expected = f"{wanted.num_rows} rows of {wanted.length}"
                raise LlmopsError(f"{where}: {name} has shape {entry['shape']}, expected {expected}; rerun preprocess")
            kind, (begin, end) = DTYPES[entry["dtype"]], entry["data_offsets"]
            if end - begin != math.prod(entry["shape"]) * np.dtype(kind).itemsize:
                raise ValueError(f"{name} has {end - begin} bytes")
            tensors.append((name, 8 + size + begin, kind))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LlmopsError(f"{where}: is no safetensors file of tokens ({error}); rerun preprocess") from error
    return SafetensorsLayout(tuple(sorted(tensors, key=lambda tensor: tensor[1])), wanted.length)


def read_tar_layout(where: str, head: bytes, wanted: Wanted) -> TarLayout:
    """Reads the first sample of a tar file; what its members share, up to the first dot of the name, is its key, as WebDataset has it."""
    members: list[tuple[str, int, int, type[np.generic]]] = []
    place, end, key = 0, 0, None
    while any(head[place : place + RECORD]):  # a tar file ends with records of zeros
        member = member_at(where, head[place : place + RECORD])
        begin, place = place, place + RECORD + -(-member.size // RECORD) * RECORD
        if place > len(head):
            raise LlmopsError(f"{where}: a sample is over {HEAD_BYTES // 1024} KiB or lacks its end; write the tar files again")
        if member.type == tarfile.XHDTYPE:  # times and long names of the next member, as webdataset's own writer has them
            continue
        if key is not None and sample_key(member.name) != key:
            break
        key, end = sample_key(member.name), place
        if tensor_name(member.name) in wanted.names:
            start, kind = read_npy_header(f"{where}: {member.name}", head[begin + RECORD : place], wanted.length)
            members.append((tensor_name(member.name), begin, begin + RECORD + start, kind))
    lacking = set(wanted.names) - {name for name, _, _, _ in members}
    if lacking:
        raise LlmopsError(
            f"{where}: its samples lack {', '.join(sorted(lacking))}, which a {wanted.view} dataset has; write the tar files again"
        )
    return TarLayout(tuple(members), end, wanted.length)


def member_at(where: str, record: bytes) -> tarfile.TarInfo:
    """The tar header in 512 bytes."""
    try:
        return tarfile.TarInfo.frombuf(record, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise LlmopsError(f"{where}: is no tar file of samples of equal size ({error}); write the tar files again") from error


def read_npy_header(where: str, content: bytes, length: int) -> tuple[int, type[np.generic]]:
    """Place and type of the numbers of a NumPy file of one row."""
    import io

    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version[0] != 1:
            raise ValueError(f"version {version}")
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
    except ValueError as error:
        raise LlmopsError(f"{where}: is no NumPy file ({error}); write the tar files again") from error
    if math.prod(shape) != length:
        raise LlmopsError(f"{where}: holds {math.prod(shape)} numbers, expected {length}; write the tar files again")
    if kind.type not in DTYPES.values():
        raise LlmopsError(f"{where}: holds {kind}, expected unsigned integers; write the tar files again")
    return file.tell(), kind.type


def sample_key(name: str) -> str:
    """`shard/000012` of `shard/000012.input_ids.npy`."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def tensor_name(name: str) -> str:
    """`input_ids` of `000012.input_ids.npy`."""
    return name.rpartition("/")[2].partition(".")[2].removesuffix(".npy")
