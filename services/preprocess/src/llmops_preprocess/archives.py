"""Files inside files: gzip, Zstandard, tar and zip, read as streams; what tries to break out or to blow up is refused."""

import gzip
import io
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

import zstandard

from llmops_preprocess.record import Broken

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_RATIO = 200
"""Bytes out of one byte in. Text seldom gives 20; deflate's most is 1032, and Zstandard's has no bound that helps."""
UNSUSPECTED_BYTES = 16 * 2**20
"""Output of an archive that is never called a bomb."""
MAX_DEPTH = 3
"""Archives in archives; an archive that holds itself has no end."""
MAX_REQUEST_BYTES = 8 * 2**20
"""Most that may be asked for at once: zipfile reads a directory in one piece and makes half a kilobyte of object from each entry."""
ARCHIVES = (".gz", ".tgz", ".zst", ".tzst", ".tar", ".zip")
DAMAGED = (
    EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, tarfile.TarError, zipfile.BadZipFile, struct.error, NotImplementedError,
)  # fmt: skip
"""What the decompressors raise for bytes that are none of theirs."""


class RefusedError(ValueError):
    """An archive that is not read on."""


class Member(NamedTuple):
    """A file to read: as it lay in the folder, or somewhere inside an archive."""

    name: str
    """Path below the source; inside an archive `archive.zip!folder/name.txt`."""
    stream: BinaryIO
    """Its bytes, readable until the next member is asked for."""


class Budget:
    """What went into an archive's decompressors, at whatever depth, and what came out."""

    def __init__(self) -> None:
        self.read = self.inflated = 0

    def spend(self, size: int) -> None:
        """Counts inflated bytes. Raises RefusedError when they are too many for the bytes read."""
        self.inflated += size
        if self.inflated > UNSUSPECTED_BYTES and self.inflated > MAX_RATIO * self.read:
            raise RefusedError(f"archive bomb: {self.inflated} bytes from the first {self.read}, more than {MAX_RATIO} to one")


class Counted(io.RawIOBase):
    """The archive as it lies on the disk; every byte read counts, and nothing oversized is asked for."""

    def __init__(self, file: BinaryIO, budget: Budget | None) -> None:
        self.file, self.budget = file, budget

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        if len(view) > MAX_REQUEST_BYTES:
            raise RefusedError(f"archive with a directory of {len(view)} bytes, more than {MAX_REQUEST_BYTES}")
        content = self.file.read(len(view))
        view[: len(content)] = content
        if self.budget is not None:
            self.budget.read += len(content)
        return len(content)


class Inflated(io.RawIOBase):
    """What a decompressor gives, front to back and on the archive's budget; none for what was counted before."""

    def __init__(self, inner: IO[bytes] | gzip.GzipFile, budget: Budget | None) -> None:
        self.inner, self.budget = inner, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer)
        content = self.inner.read(len(view))
        view[: len(content)] = content
        if self.budget is not None:
            self.budget.spend(len(content))
        return len(content)


def is_archive(name: str) -> bool:
    """Whether the name is one of a file with files in it."""
    return name.lower().endswith(ARCHIVES)


def members(name: str, file: BinaryIO) -> Iterator[Member | Broken]:
    """The files in a file, in their order: itself when it is no archive.

    Links and names that lead out of the archive are told as broken, and the rest is read. A bomb, or what is damaged, ends it.
    """
    if not is_archive(name):
        yield Member(name, file)
        return
    budget, empty = Budget(), True
    try:
        for item in unpack(name, io.BufferedReader(Counted(file, budget)), budget, 1):
            empty = False
            yield item
        if empty:
            yield Broken(name, 1, "empty archive")
    except RefusedError as error:
        yield Broken(name, 1, str(error))
    # a ValueError is zipfile's word for an offset before the file's start
    except (*DAMAGED, ValueError) as error:
        yield Broken(name, 1, damage(error))


def unpack(name: str, stream: BinaryIO, budget: Budget, depth: int) -> Iterator[Member | Broken]:
    """The files in an archive, those of archives in it among them."""
    if depth > MAX_DEPTH:
        raise RefusedError(f"archives nested more than {MAX_DEPTH} deep: {name}")
    lower = name.lower()
    if lower.endswith((".gz", ".tgz", ".zst", ".tzst")):
        inner = name[: name.rindex(".")] + (".tar" if lower.endswith((".tgz", ".tzst")) else "")
        inflated = io.BufferedReader(Inflated(decompressor(lower, stream), budget), 1 << 20)
        # a.tar.gz is one archive in two wrappings: only what is packed in it counts as deeper
        found: Iterator[Member | Broken] = iter([Member(inner, inflated)])
        if is_archive(inner):
            found = unpack(inner, inflated, budget, depth if inner.lower().endswith(".tar") else depth + 1)
        yield from found
        return
    for item in tar_members(name, stream) if lower.endswith(".tar") else zip_members(name, stream, budget):
        if isinstance(item, Broken) or not is_archive(item.name):
            yield item
        else:
            yield from unpack(item.name, item.stream, budget, depth + 1)


def decompressor(name: str, stream: BinaryIO) -> IO[bytes] | gzip.GzipFile:
    """The stream behind gzip or Zstandard."""
    if name.endswith("gz"):
        return gzip.open(stream)
    return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)


def tar_members(name: str, stream: BinaryIO) -> Iterator[Member | Broken]:
    """The regular files of a tar, read front to back."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            place = f"{name}!{info.name}"
            if (why := escape(info.name)) is not None:
                yield Broken(place, 1, why)
            elif info.isfile():
                content = archive.extractfile(info)
                assert content is not None
                yield Member(place, io.BufferedReader(Inflated(content, None)))
            elif not info.isdir():
                kind = "link" if info.islnk() or info.issym() else "device or pipe"
                yield Broken(place, 1, f"archive member is a {kind}{f' to {info.linkname}' if info.linkname else ''}")
            # tarfile remembers every member it has seen; the list of a long archive would fill the memory
            archive.members.clear()  # type: ignore[attr-defined]


def zip_members(name: str, stream: BinaryIO, budget: Budget) -> Iterator[Member | Broken]:
    """The files of a zip, in the order of its directory; one inside another archive is put on the disk first."""
    with tempfile.TemporaryFile() as copy:
        if not stream.seekable():
            shutil.copyfileobj(stream, copy)
            # its bytes were counted when the outer archive was read
            stream = io.BufferedReader(Counted(copy, None))
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                place = f"{name}!{info.filename}"
                if info.is_dir():
                    continue
                if (why := escape(info.filename)) is not None:
                    yield Broken(place, 1, why)
                elif (info.external_attr >> 16) & 0o170000 == 0o120000:
                    yield Broken(place, 1, "archive member is a link")
                elif info.flag_bits & 1:
                    yield Broken(place, 1, "archive member is encrypted")
                else:
                    with archive.open(info) as content:
                        yield Member(place, io.BufferedReader(Inflated(content, budget)))


def escape(name: str) -> str | None:
    """Why a member's name must not be believed."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or (len(name) > 1 and name[1] == ":"):
        return f"archive member leads out of the archive: {name!r}"
    return None


def damage(error: Exception) -> str:
    """The decompressor's complaint as a reason."""
    return f"damaged archive: {error or type(error).__name__}"
