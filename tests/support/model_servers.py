"""Model servers on 127.0.0.1 that answer in the shapes of TGI, vLLM, DJL's LMI and SageMaker's runtime, in whatever pieces a test says."""

import contextlib
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What the server says next."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"
    pieces: int = 1
    """Pieces the body is sent in."""
    breaks_off: bool = False
    """The connection is closed in the middle."""


class Asked(NamedTuple):
    """What the server was asked."""

    path: str
    body: Any
    headers: dict[str, str]


@contextlib.contextmanager
def model_server(answer: Callable[[Asked], Answer]) -> Iterator[tuple[str, list[Asked]]]:
    """(URL, requests so far) of a server; GET answers 200."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer would wait 40 ms for the acknowledgement of its head

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            request = Asked(self.path, json.loads(content), {name.lower(): value for name, value in self.headers.items()})
            asked.append(request)
            said = answer(request)
            self.send_response(said.status)
            self.send_header("content-type", said.content_type)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            size = -(-len(said.body) // said.pieces)
            for start in range(0, len(said.body), size):
                piece = said.body[start : start + size]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
            if said.breaks_off:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def server_sent(*events: Any, done: bool = False) -> bytes:
    """Events as TGI and vLLM send them."""
    lines = "".join(f"data:{json.dumps(event)}\n\n" for event in events)
    return (lines + ("data: [DONE]\n\n" if done else "")).encode()


def json_lines(*events: Any) -> bytes:
    """Events as LMI sends them."""
    return "".join(f"{json.dumps(event)}\n" for event in events).encode()


def event_stream(*messages: tuple[dict[str, str], bytes]) -> bytes:
    """Messages of AWS's event stream encoding, by their headers and payload (smithy.io/2.0/aws/amazon-eventstream.html)."""
    return b"".join(event_message(headers, payload) for headers, payload in messages)


def payload_parts(body: bytes, num_parts: int) -> list[tuple[dict[str, str], bytes]]:
    """The body as PayloadParts, which end anywhere."""
    size = -(-len(body) // num_parts)
    headers = {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    return [(headers, body[start : start + size]) for start in range(0, len(body), size)]


def stream_exception(kind: str, **members: str) -> tuple[dict[str, str], bytes]:
    """ModelStreamError or InternalStreamFailure."""
    return {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}, json.dumps(members).encode()


def event_message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message: lengths and their checksum, headers (7: a string), payload, checksum of all."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))
