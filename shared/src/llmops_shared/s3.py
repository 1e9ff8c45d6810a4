"""The S3 store: whole objects, multipart and retries left to boto3's transfer manager."""

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmops_shared.errors import LlmopsError
from llmops_shared.store import Entry

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError


class S3Store:
    """Objects in S3. Credentials and region come from the environment, as for every AWS SDK."""

    def read(self, uri: str) -> bytes:
        bucket, key = split(uri)
        with translated(uri):
            body: bytes = client().get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

    def write(self, uri: str, content: bytes | Path) -> None:
        bucket, key = split(uri)
        with translated(uri):
            if isinstance(content, Path):
                client().upload_file(str(content), bucket, key)
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
                    client().download_file(bucket, key, str(path))
        bucket, key = split(uri)
        return root / bucket / key


@functools.cache
def client() -> Any:
    """One client a process: boto3 takes about half a second to make the first one."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "adaptive", "max_attempts": 10}))


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
