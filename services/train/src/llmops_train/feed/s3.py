"""Ranges of S3 objects: one GET each, counted, repeated with growing waits when S3 asks to slow down or a body breaks off."""

import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_shared.errors import LlmopsError
from llmops_shared.s3 import split, translated

logger = logging.getLogger(__name__)

ATTEMPTS = 6  # of a range whose body breaks off, beside botocore's own attempts at a request


class S3Ranges:
    """Objects of one split."""

    def __init__(self, uris: list[str], sizes: list[int], connections: int, timeout_s: float) -> None:
        self.uris = uris
        self.sizes = sizes
        self.connections = connections
        self.timeout_s = timeout_s
        self.num_requests = 0
        self._client: Any = None
        self._lock = threading.Lock()

    def read(self, shard: int, start: int, stop: int) -> NDArray[np.uint8]:
        stop = min(stop, self.sizes[shard])
        uri = self.uris[shard]
        if stop <= start:
            return np.empty(0, np.uint8)
        with translated(uri):
            for attempt in range(1, ATTEMPTS + 1):
                content = self.attempt(uri, shard, start, stop, last=attempt == ATTEMPTS)
                if content is not None:
                    return content
        raise AssertionError("the last attempt returns or raises")

    def attempt(self, uri: str, shard: int, start: int, stop: int, last: bool) -> NDArray[np.uint8] | None:
        """One GET; None when the body broke off and it is worth another try."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        bucket, key = split(uri)
        with self._lock:
            self.num_requests += 1
        answer = self.client().get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
        total = int(answer["ContentRange"].rpartition("/")[2])
        if total != self.sizes[shard]:
            raise LlmopsError(f"{uri}: is damaged: {total} bytes, expected {self.sizes[shard]}; delete its prefix and run the stage again")
        try:
            body = answer["Body"].read()
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError) as error:
            if last:
                raise LlmopsError(f"{uri}: bytes {start}-{stop} broke off {ATTEMPTS} times ({error}); check the network to S3") from error
            logger.warning("%s: bytes %d-%d broke off; reading them again", uri, start, stop)
            return None
        content: NDArray[np.uint8] = np.frombuffer(body, np.uint8)
        return content

    def client(self) -> Any:
        """A client whose pool has a connection for every reading thread."""
        with self._lock:
            if self._client is None:
                import boto3
                from botocore.config import Config

                retries = {"mode": "standard", "total_max_attempts": 10}  # with jitter that spreads, as in llmops_shared.s3
                self._client = boto3.client(
                    "s3", config=Config(retries=retries, max_pool_connections=self.connections, read_timeout=self.timeout_s)
                )
            return self._client

    def finished(self, shard: int) -> None:
        """Objects are not kept open."""
