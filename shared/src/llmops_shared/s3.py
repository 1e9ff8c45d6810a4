"""The S3 store: whole objects by boto3's transfer manager, streams by ranges, one uploader a node, every request counted."""

import contextlib
import fcntl
import functools
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from llmops_shared.errors import LlmopsError
from llmops_shared.s3_requests import count_requests
from llmops_shared.store import Entry

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError


RANGE_BYTES = 16 * 2**20
"""Bytes of a GET and of a part of an upload: 60 GETs a gigabyte; S3 serves ranges of 8 to 16 MB at full speed."""
MAX_CONCURRENCY = 8
"""Requests of one process at a time."""
ATTEMPTS = 10
"""Of every request, with exponential backoff and full jitter between them, 20 s at most (botocore's standard mode). Its adaptive mode
lets a client that sent little wait two seconds for its next token, whatever the jitter: all that were refused together come back together.
"""


class S3Store:
    """Objects in S3. Credentials and region come from the environment, as for every AWS SDK."""

    def read(self, uri: str) -> bytes:
        bucket, key = split(uri)
        with translated(uri):
            body: bytes = client().get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    def open(self, uri: str) -> BinaryIO:
        return io.BufferedReader(Ranges(uri), 1 << 20)

    def write(self, uri: str, content: bytes | Path) -> None:
        bucket, key = split(uri)
        with translated(uri), the_only_uploader():
            if isinstance(content, Path):
                client().upload_file(str(content), bucket, key, Config=transfer())
                content.unlink()
            else:
                client().put_object(Bucket=bucket, Key=key, Body=content)

    def entries(self, uri: str) -> list[Entry]:
        bucket, prefix = split(uri)
        with translated(uri):
            pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            found = [(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", [])]
        # a prefix is not a folder: `data` also lists `data2/x`
        inside = [(key, size) for key, size in found if key == prefix or not prefix or key.startswith(prefix.rstrip("/") + "/")]
        return sorted(Entry(f"s3://{bucket}/{key}", size) for key, size in inside if not key.endswith("/"))

    def remove(self, uri: str) -> None:
        bucket, key = split(uri)
        with translated(uri):
            client().delete_object(Bucket=bucket, Key=key)

    def fetch(self, uri: str) -> Path:
        entries = self.entries(uri)
        if not entries:
            raise LlmopsError(f"{uri}: there is no such object or prefix")
        root = scratch()
        for entry in entries:
            bucket, key = split(entry.uri)
            path = root / bucket / key
            if not (path.exists() and path.stat().st_size == entry.size_bytes):
                path.parent.mkdir(parents=True, exist_ok=True)
                with translated(entry.uri):
                    client().download_file(bucket, key, str(path), Config=transfer())
        bucket, key = split(uri)
        return root / bucket / key


class Ranges(io.RawIOBase):
    """An object front to back, a range at a time; a range that breaks off is asked for again."""

    def __init__(self, uri: str) -> None:
        self.uri, self.place, self.piece = uri, 0, memoryview(b"")
        self.size: int | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.piece and (self.size is None or self.place < self.size):
            self.piece = memoryview(self._range())
            self.place += len(self.piece)
        view = memoryview(buffer)
        count = min(len(view), len(self.piece))
        view[:count] = self.piece[:count]
        self.piece = self.piece[count:]
        return count

    def _range(self) -> bytes:
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        bucket, key = split(self.uri)
        with translated(self.uri):
            for attempt in range(ATTEMPTS):
                try:
                    answer = client().get_object(Bucket=bucket, Key=key, Range=f"bytes={self.place}-{self.place + RANGE_BYTES - 1}")
                    self.size = int(answer["ContentRange"].rpartition("/")[2])
                    content: bytes = answer["Body"].read()
                    return content
                except ClientError as error:
                    if error.response["Error"]["Code"] != "InvalidRange":
                        raise
                    self.size = 0  # an empty object has no first byte
                    return b""
                except (HTTPClientError, IncompleteReadError):  # botocore retries up to the headers; the body is ours
                    if attempt == ATTEMPTS - 1:
                        raise
        raise AssertionError("the last attempt raises")


def tags(uris: Sequence[str]) -> dict[str, str]:
    """The ETag of each object, from listings of the folders they are in: it changes when the content does."""
    wanted, found = set(uris), dict[str, str]()
    for folder in sorted({uri.rpartition("/")[0] for uri in uris}):
        bucket, prefix = split(folder + "/")
        with translated(folder):
            for page in client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
                found |= {f"s3://{bucket}/{item['Key']}": item["ETag"].strip('"') for item in page.get("Contents", [])}
    return {uri: found[uri] for uri in wanted}


@contextlib.contextmanager
def the_only_uploader() -> Iterator[None]:
    """Waits until no other process of this machine writes to S3: one uploader a node, whose parts go in parallel, fills its network."""
    place = Path(tempfile.gettempdir()) / f"llmops-uploader-{os.getuid()}.lock"
    with place.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def transfer() -> Any:
    """How whole objects are cut into requests."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=RANGE_BYTES, multipart_chunksize=RANGE_BYTES, io_chunksize=1 << 20, max_concurrency=MAX_CONCURRENCY
    )


@functools.cache
def client() -> Any:
    """One client a process: boto3 takes about half a second to make the first one."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    made = boto3.client("s3", config=Config(retries=retries, max_pool_connections=MAX_CONCURRENCY))
    count_requests(made)
    return made


@functools.cache
def scratch() -> Path:
    """Folder of fetched objects, gone with the process."""
    holder = tempfile.TemporaryDirectory(prefix="llmops-s3-")
    _holders.append(holder)  # kept until exit, whose finalizer removes it
    return Path(holder.name)


_holders: list[tempfile.TemporaryDirectory[str]] = []


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`. Raises LlmopsError without a bucket."""
    parts = urlsplit(uri)
    if not parts.netloc:
        raise LlmopsError(f"{uri}: names no bucket; write s3://bucket/prefix")
    return parts.netloc, parts.path.lstrip("/")


class translated:  # noqa: N801 - reads as a word: `with translated(uri):`
    """Turns the vendor's errors into ours, with the URI in front."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, (ClientError, BotoCoreError, Boto3Error)):
            raise LlmopsError(f"{self.uri}: {explain(error)}") from error


def explain(error: "ClientError | BotoCoreError | Exception") -> str:
    """The service's code and message, or the SDK's own words."""
    response = getattr(error, "response", None)
    if response:
        return f"S3 answered {response['Error']['Code']}: {response['Error'].get('Message', '')}"
    return str(error)
