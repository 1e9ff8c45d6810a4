"""A bucket on loopback that answers as S3 does, fails as it is told to, and counts what is asked of it at one time."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from llmops_shared import s3, s3_requests


class Asked(NamedTuple):
    """A request, as it arrived."""

    at: float
    """Seconds of the monotonic clock."""
    method: str
    path: str
    span: str
    """`bytes=first-last` of a GET, `partNumber` of a part."""
    connection: int
    """Port of the client's end."""


class Bucket(ThreadingHTTPServer):
    """What it holds and what it saw."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects, self.parts = dict[str, bytes](), dict[tuple[str, int], bytes]()
        self.faults: dict[str, list[str]] = {}
        """Of a method what happens to its next requests, one each: 503, reset, deny, silent; `""` for nothing."""
        self.seen, self.asked = Counter[str](), list[Asked]()
        self.hold_s = 0.0
        """Seconds that an answer takes, so that requests meet."""
        self.lock, self.in_flight, self.most_in_flight = threading.Lock(), Counter[str](), 0
        self.met = set[frozenset[str]]()
        """Objects that were asked for at one time."""

    @contextlib.contextmanager
    def taking(self, asked: Asked) -> Iterator[str]:
        """Counts a request while it is answered; gives the fault that waits for it."""
        with self.lock:
            self.asked.append(asked)
            self.seen[asked.method] += 1
            self.in_flight[asked.path] += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight.total())
            self.met.add(frozenset(path for path, number in self.in_flight.items() if number))
            waiting = self.faults.get(asked.method, [])
            fault = waiting.pop(0) if waiting else ""
        try:
            time.sleep(self.hold_s)
            yield fault
        finally:
            with self.lock:
                self.in_flight[asked.path] -= 1


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Bucket

    def log_message(self, *_: object) -> None: ...

    def take(self) -> None:
        place = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        span = self.headers.get("Range") or query.get("partNumber", "")
        with self.server.taking(Asked(time.monotonic(), self.command, place.path, span, self.client_address[1])) as fault:
            if fault == "503":
                self.answer(503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
            elif fault == "deny":
                self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
            else:
                getattr(self, f"on_{self.command.lower()}")(place.path, query, body, fault)
            self.wfile.flush()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = take  # noqa: N815 - the names http.server wants

    def on_get(self, path: str, query: dict[str, str], body: bytes, fault: str) -> None:
        if "list-type" in query:
            return self.answer(200, self.listing(path, query["prefix"]))
        content = self.server.objects[path]
        first, last = (int(place or len(content)) for place in self.headers["Range"].removeprefix("bytes=").split("-"))
        piece = content[first : last + 1]
        if fault == "reset":
            self.send(206, len(piece), {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(content)}"})
            self.wfile.write(piece[: len(piece) // 2])
            return self.hang_up()
        return self.answer(206, piece, {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(content)}", "ETag": '"x"'})

    def listing(self, path: str, prefix: str) -> bytes:
        found = {key.removeprefix(f"{path}/"): len(content) for key, content in self.server.objects.items()}
        entries = "".join(
            f'<Contents><Key>{key}</Key><Size>{size}</Size><ETag>"x"</ETag></Contents>'
            for key, size in found.items()
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def on_head(self, path: str, query: dict[str, str], body: bytes, fault: str) -> None:
        self.send(200, len(self.server.objects[path]), {"ETag": '"x"', "Accept-Ranges": "bytes"})

    def on_put(self, path: str, query: dict[str, str], body: bytes, fault: str) -> None:
        if "partNumber" in query:
            self.server.parts[path, int(query["partNumber"])] = body
        else:
            self.server.objects[path] = body
        if fault == "silent":
            self.hang_up()
        else:
            self.answer(200, headers={"ETag": '"x"'})

    def on_post(self, path: str, query: dict[str, str], body: bytes, fault: str) -> None:
        if "uploads" in query:
            names = "<Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId>"
            return self.answer(200, f"<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>".encode())
        mine = sorted(number for of, number in self.server.parts if of == path)
        self.server.objects[path] = b"".join(self.server.parts.pop((path, number)) for number in mine)
        return self.answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")

    def on_delete(self, path: str, query: dict[str, str], body: bytes, fault: str) -> None:
        self.server.seen["aborted"] += query.get("uploadId") == "u1"
        self.answer(204)

    def send(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send(status, len(body), headers or {})
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()


@contextlib.contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The bucket; the store's client, here and in processes started from here, asks it."""
    with Bucket() as found:
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{found.server_port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # checksums in trailers would need a server that reads chunks
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        s3.client.cache_clear()
        s3_requests.take()
        yield found
        found.shutdown()
        s3.client.cache_clear()
