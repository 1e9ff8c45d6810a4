"""Requests to S3, counted where they leave: by operation and by the prefix whose limits they count against."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

sent: Counter[str] = Counter()
"""`GetObject s3://bucket/prefix` of this process, every attempt of a retried request included."""
PREFIX_DEPTH = 1
"""Folders of a key that make its prefix here; S3 itself divides a bucket by load, along the keys."""


def count_requests(client: Any) -> None:
    """Counts what the client sends from now on."""
    client.meta.events.register_first("before-send.s3", counted)


def counted(request: Any, event_name: str, **_: object) -> None:
    """One request that is about to leave."""
    sent[f"{event_name.rpartition('.')[2]} {prefix_of(request.url, request.headers)}"] += 1


def prefix_of(url: str, headers: Mapping[str, Any]) -> str:
    """`s3://bucket/folder`, of addresses with the bucket in the host or in the path."""
    parts = urlsplit(url)
    host, path = parts.netloc, unquote(parts.path).lstrip("/")
    virtual = ".s3." in host or ".s3-" in host
    bucket, key = (host.partition(".s3")[0], path) if virtual else path.partition("/")[::2]
    return prefix_of_key(f"s3://{bucket}/{key}")


def prefix_of_key(uri: str) -> str:
    """The same of an object's URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return "/".join([f"s3://{bucket}", *key.split("/")[:-1][:PREFIX_DEPTH]])


def take() -> Counter[str]:
    """What was counted since the last call."""
    found = Counter(sent)
    sent.clear()
    return found
