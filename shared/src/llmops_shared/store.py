"""The store port: bytes at a URI, on a local disk or in S3."""

import errno
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol
from urllib.parse import urlsplit

from llmops_shared.errors import LlmopsError


class Entry(NamedTuple):
    """One object below a URI."""

    uri: str
    size_bytes: int


class Store(Protocol):
    """Reads and writes whole objects. A write is atomic: readers see the old object or the new one, never a part."""

    def read(self, uri: str) -> bytes:
        """The object's content. Raises LlmopsError when there is none."""

    def open(self, uri: str) -> BinaryIO:
        """The object as a stream, read front to back. Raises LlmopsError when there is none."""

    def write(self, uri: str, content: bytes | Path) -> None:
        """Writes bytes, or moves a finished local file there. Raises LlmopsError when it cannot."""

    def entries(self, uri: str) -> list[Entry]:
        """The objects at or below the URI, in order of their URIs; empty when there are none."""

    def remove(self, uri: str) -> None:
        """Removes one object."""

    def fetch(self, uri: str) -> Path:
        """A local path with the object, or with everything below the URI. Raises LlmopsError when there is nothing."""


def store_for(uri: str) -> Store:
    """The store that holds this URI. Raises LlmopsError for a scheme there is no store for."""
    match urlsplit(uri).scheme:
        case "":
            return LocalStore()
        case "s3":
            from llmops_shared.s3 import S3Store

            return S3Store()
        case scheme:
            raise LlmopsError(f"{uri}: no store for {scheme}://; give a local path or s3://bucket/prefix")


def exists(uri: str) -> bool:
    """Whether there is an object at exactly this URI."""
    return any(entry.uri == uri for entry in store_for(uri).entries(uri))


def join(folder: str, *names: str) -> str:
    """A URI below a folder; an absolute name stands for itself."""
    uri = folder
    for name in names:
        uri = name if urlsplit(name).scheme or name.startswith("/") else f"{uri.rstrip('/')}/{name}"
    return normal(uri)


def normal(uri: str) -> str:
    """The URI without `.` and `..` steps and doubled slashes."""
    parts = urlsplit(uri)
    if parts.scheme:
        return f"{parts.scheme}://{parts.netloc}{os.path.normpath(parts.path) if parts.path not in ('', '/') else parts.path}"
    return os.path.normpath(uri)


def folder_of(uri: str) -> str:
    """The folder of an object."""
    return uri.rpartition("/")[0] or ("/" if uri.startswith("/") else ".")


def relative(uri: str, folder: str) -> str:
    """The URI as seen from a folder: a relative path where both are in one store, else the absolute URI."""
    to, base = urlsplit(uri), urlsplit(folder)
    if (to.scheme, to.netloc) != (base.scheme, base.netloc):
        return uri if to.scheme else os.path.abspath(uri)
    return os.path.relpath(to.path or "/", base.path or "/")


class LocalStore:
    """Files on a disk."""

    def read(self, uri: str) -> bytes:
        try:
            return Path(uri).read_bytes()
        except OSError as error:
            raise LlmopsError(f"{uri}: cannot be read ({error.strerror or error})") from error

    def open(self, uri: str) -> BinaryIO:
        try:
            return Path(uri).open("rb")
        except OSError as error:
            raise LlmopsError(f"{uri}: cannot be read ({error.strerror or error})") from error

    def write(self, uri: str, content: bytes | Path) -> None:
        path = Path(uri)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                move(content, path)
            else:
                replace_content(path, io.BytesIO(content))
        except OSError as error:
            raise LlmopsError(f"{uri}: cannot be written ({error.strerror or error}); free the space or choose another out=") from error

    def entries(self, uri: str) -> list[Entry]:
        path = Path(uri)
        if path.is_file():
            return [Entry(uri, path.stat().st_size)]
        files = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        return sorted(Entry(str(file), file.stat().st_size) for file in files if file.is_file())

    def remove(self, uri: str) -> None:
        Path(uri).unlink()

    def fetch(self, uri: str) -> Path:
        path = Path(uri)
        if not path.exists():
            raise LlmopsError(f"{uri}: there is no such file or folder")
        return path


def move(source: Path, target: Path) -> None:
    """Moves a file; across filesystems by copying it beside the target first, so that the target still appears at once."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with source.open("rb") as file:
            replace_content(target, file)
        source.unlink()


def replace_content(path: Path, content: BinaryIO) -> None:
    """Writes a file in full beside its place, then puts it there."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp makes private files; documents are for others to read
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
