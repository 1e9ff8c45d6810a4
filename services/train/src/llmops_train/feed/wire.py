"""The feed's protocol over TCP: a length, JSON, a length, safetensors; nothing in it can run code."""

import json
import socket
import struct
from typing import Any

import numpy as np

from llmops_train.feed.layout import Table

LENGTHS = struct.Struct("!II")

MAX_BYTES = 2**30


def send(connection: socket.socket, message: dict[str, Any], table: Table | None = None) -> None:
    """Sends a message, and arrays where there are some."""
    from safetensors.numpy import save

    head = json.dumps(message).encode()
    body = save({name: np.ascontiguousarray(values) for name, values in table.items()}) if table else b""
    connection.sendall(LENGTHS.pack(len(head), len(body)) + head + body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], Table] | None:
    """The next message with its arrays; None when the other side has closed. Raises ConnectionError when it breaks off or is nonsense."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    first = connection.recv(1)
    if not first:
        return None
    head_length, body_length = LENGTHS.unpack(first + exactly(connection, LENGTHS.size - 1))
    if head_length + body_length > MAX_BYTES:
        raise ConnectionError(f"a message of {head_length + body_length} bytes: no feed speaks there")
    try:
        message = json.loads(exactly(connection, head_length))
        table = load(exactly(connection, body_length)) if body_length else {}
    except (ValueError, SafetensorError) as error:
        raise ConnectionError(f"a message that is none of a feed: {error}") from error
    if not isinstance(message, dict):
        raise ConnectionError("a message that is none of a feed")
    return message, table


def exactly(connection: socket.socket, length: int) -> bytes:
    """So many bytes. Raises ConnectionError when the connection ends before."""
    content = bytearray(length)
    view, filled = memoryview(content), 0
    while filled < length:
        count = connection.recv_into(view[filled:])
        if not count:
            raise ConnectionError(f"ended after {filled} of {length} bytes")
        filled += count
    return bytes(content)


def address(server: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ValueError."""
    host, colon, port = server.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError(f"{server!r}: write host:port")
    return host.strip("[]"), int(port)
