"""What a source's files hold, as digests: read once, kept for large files that did not change, the store's own tag on S3."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from llmops_shared.documents import sha256
from llmops_shared.store import Entry, exists, join, store_for

KEPT = "digests.json"
"""Beside the dataset: digests of large local files by path, size, inode and time of change, as git keeps those of its index."""
LARGE_BYTES = 64 * 2**20
SETTLED_NS = 2 * 10**9
"""A file that changed so lately may change again within one tick of the clock: its digest is not kept."""


def digests(entries: Sequence[Entry], out: str | None = None) -> list[str]:
    """A digest of each file: of its content, or on S3 the object's ETag, which nobody has to read the object for."""
    if entries and urlsplit(entries[0].uri).scheme == "s3":
        from llmops_shared.s3 import tags

        found = tags([entry.uri for entry in entries])
        return [found[entry.uri] for entry in entries]
    place = None if out is None else join(out, KEPT)
    kept: dict[str, str] = json.loads(store_for(place).read(place)) if place is not None and exists(place) else {}
    stamps = [stamp(entry) for entry in entries]
    # hashing leaves Python's lock
    with ThreadPoolExecutor(max(1, min(len(os.sched_getaffinity(0)), len(entries)))) as pool:
        made = list(pool.map(lambda item: kept.get(item[1] or "") or sha256(Path(item[0].uri)), zip(entries, stamps, strict=True)))
    known = {mark: digest for mark, digest in zip(stamps, made, strict=True) if mark is not None}
    if place is not None and known and known != kept:
        store_for(place).write(place, json.dumps(known, indent=1, sort_keys=True).encode())
    return made


def stamp(entry: Entry) -> str | None:
    """What tells a large file from a changed one without reading it; None for one that is read each time."""
    if entry.size_bytes < LARGE_BYTES:
        return None
    status = Path(entry.uri).stat()
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED_NS:
        return None
    return f"{os.path.abspath(entry.uri)} {status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"


def digest_over(names: Sequence[str], entries: Sequence[Entry], out: str | None = None) -> str:
    """One digest over names, sizes and contents."""
    found = zip(names, entries, digests(entries, out), strict=True)
    return hashlib.sha256("\n".join(f"{name} {entry.size_bytes} {digest}" for name, entry, digest in found).encode()).hexdigest()
