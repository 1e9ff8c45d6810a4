"""Bytes of shards by range: files on a disk or mount here, objects in S3 in `s3.py`."""

import os
import threading
from collections import OrderedDict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_shared.errors import LlmopsError


class Ranges(Protocol):
    """Pieces of a split's shards."""

    def read(self, shard: int, start: int, stop: int) -> NDArray[np.uint8]:
        """These bytes of a shard, fewer where it ends before. Raises LlmopsError when they cannot be read."""

    def finished(self, shard: int) -> None:
        """Says that a shard is not read any more in this epoch."""


class FileRanges:
    """Files on a mount, few of them open, each handle read forward only: FUSE and Lustre read ahead by handle."""

    def __init__(self, paths: list[str], sizes: list[int], max_open: int) -> None:
        self.paths = paths
        self.sizes = sizes
        self.max_open = max_open
        self._handles: OrderedDict[tuple[int, int], int] = OrderedDict()
        """By shard and the byte each would read next."""
        self._lock = threading.Lock()

    def read(self, shard: int, start: int, stop: int) -> NDArray[np.uint8]:
        content = np.empty(max(0, min(stop, self.sizes[shard]) - start), np.uint8)
        view, filled = content.data, 0
        try:
            handle = self.lend(shard, start)
            while filled < len(view):
                count = os.preadv(handle, [view[filled:]], start + filled)
                if count == 0:
                    raise LlmopsError(f"{self.paths[shard]}: ends after {start + filled} bytes; it was cut off: copy it again")
                filled += count
        except OSError as error:
            raise LlmopsError(f"{self.paths[shard]}: cannot be read ({error.strerror or error}); check the mount") from error
        self.give_back(shard, start + filled, handle)
        return content

    def lend(self, shard: int, start: int) -> int:
        """The handle that stands at this byte, or a new one."""
        with self._lock:
            handle = self._handles.pop((shard, start), None)
        if handle is not None:
            return handle
        handle = os.open(self.paths[shard], os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(handle).st_size
        if size != self.sizes[shard]:
            os.close(handle)
            raise LlmopsError(
                f"{self.paths[shard]}: is damaged: {size} bytes, expected {self.sizes[shard]}; delete its folder and copy it again"
            )
        return handle

    def give_back(self, shard: int, place: int, handle: int) -> None:
        """Keeps a handle for the bytes after `place`, in place of the one not used for longest when there are too many."""
        with self._lock:
            spare = [self._handles.pop((shard, place))] if (shard, place) in self._handles else []
            self._handles[(shard, place)] = handle
            while len(self._handles) > self.max_open:
                spare.append(self._handles.popitem(last=False)[1])
        for number in spare:
            os.close(number)

    def finished(self, shard: int) -> None:
        with self._lock:
            handles = [self._handles.pop(key) for key in list(self._handles) if key[0] == shard]
        for handle in handles:
            os.close(handle)

    def __del__(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
