"""Requests on the short way, byte by byte: in pieces, several at once, over connections that end, and when the server ends."""

import contextlib
import json
import socket
import threading
import time

import pytest

from llmops_serve.config import RunConfig
from llmops_serve.server import realized
from llmops_shared.contracts import Exchange
from support.serving import serving
from support.upstreams import WHOLE, GatewayProcess, answer, remote_variant, upstreams, write_remote_endpoint

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "What does chain do?"}], "max_tokens": 8}


def request(number, *headers, **changes):
    body = json.dumps({**CHAT, **changes}).encode()
    head = ["POST /v1/chat/completions HTTP/1.1", "host: x", f"x-request-id: r{number}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def read_answers(client, number):
    """Status, request id, whether the connection ends, and body of so many answers."""
    file, found = client.makefile("rb"), []
    for _ in range(number):
        status = int(file.readline().split()[1])
        headers = dict(line.rstrip(b"\r\n").lower().split(b": ", 1) for line in iter(file.readline, b"\r\n"))
        body = file.read(int(headers[b"content-length"]))
        found.append((status, headers[b"x-request-id"].decode(), headers.get(b"connection") == b"close", body))
    return found


def read_log(folder):
    lines = [line for file in sorted((folder / "exchanges").rglob("*.jsonl")) for line in file.read_text().splitlines()]
    return [Exchange.model_validate_json(line) for line in lines]


@contextlib.contextmanager
def connected(folder, *urls, **options):
    """A client's connection to a gateway over these servers."""
    endpoint = write_remote_endpoint(folder, [remote_variant(folder, "production", urls)])
    config = RunConfig.model_validate({"endpoint": str(endpoint), "port": 0, "drain_timeout_s": 2, **options})
    with serving(lambda: realized(config), config) as url, contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))))
        client.settimeout(20)
        yield client


def test_requests_are_answered_in_order_however_their_bytes_come(tmp_path):
    with upstreams(1) as ((server,), _), connected(tmp_path, f"http://127.0.0.1:{server.port}") as client:
        server.delay_s = 0.05
        client.sendall(request(0))
        time.sleep(0.01)
        for number in (1, 2):
            client.sendall(request(number))  # while the first is under way
        client.sendall(request(3) + request(4, max_tokens=-1) + request(5))
        found = read_answers(client, 6)
        whole = request(6)
        for begin in range(0, len(whole), 40):
            client.sendall(whole[begin : begin + 40])
            time.sleep(0.002)
        client.sendall(request(7)[:-1])
        time.sleep(0.05)
        client.sendall(b"}")
        found += read_answers(client, 2)
        client.sendall(request(8, "connection: close"))
        (last,) = read_answers(client, 1)
        left = client.recv(100)

    assert [(status, name) for status, name, _, _ in found] == [(422 if number == 4 else 200, f"r{number}") for number in range(8)]
    assert {body for status, _, _, body in found if status == 200} == {WHOLE}
    assert not any(closes for _, _, closes, _ in found)
    assert (last[:3], left) == ((200, "r8", True), b"")
    assert sorted(one.request_id for one in read_log(tmp_path)) == ["r0", "r1", "r2", "r3", "r5", "r6", "r7", "r8"]


@contextlib.contextmanager
def server_of(*scripts):
    """A server that does with each of its connections what the next script says: `a` answers a request, `b` breaks, anything else closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve():
        for script in scripts:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as file:
                for what in script:
                    if not (head := file.readline()):
                        break
                    headers = dict(line.rstrip(b"\r\n").lower().split(b": ", 1) for line in iter(file.readline, b"\r\n"))
                    file.read(int(headers.get(b"content-length", b"0")))
                    asked.append(head)
                    if what == "a":
                        connection.sendall(answer(200, WHOLE))
                    elif what == "b":
                        connection.sendall(answer(200, b'{"no": "answer"}'))
                    else:
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        thread.join(10)
        listener.close()


def test_a_connection_that_its_server_closes_is_no_failure(tmp_path):
    with server_of("aa.", "a") as (url, asked), connected(tmp_path, url) as client:
        for number in range(2):
            client.sendall(request(number))
            assert read_answers(client, 1)[0][:2] == (200, f"r{number}")

    assert len(asked) == 4  # its health, a request, one that found the connection closed, and that one again
    assert [one.error for one in read_log(tmp_path)] == [None, None]


def test_what_is_no_answer_is_a_failure_of_the_server(tmp_path):
    with server_of("aab") as (url, _), connected(tmp_path, url) as client:
        client.sendall(request(0))
        first = read_answers(client, 1)[0]
        client.sendall(request(1))
        second = read_answers(client, 1)[0]

    assert (first[0], second[0]) == (200, 424)
    assert json.loads(second[3])["error"] == f"Request failed during generation: {url}: is no answer of OpenAI's API"
    assert [(one.request_id, one.error) for one in read_log(tmp_path)] == [("r0", None), ("r1", f"{url}: is no answer of OpenAI's API")]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_is_answered_when_the_server_ends_before_its_model_does(tmp_path, is_first):
    with upstreams(1) as ((server,), _):
        endpoint = write_remote_endpoint(tmp_path, [remote_variant(tmp_path, "production", [f"http://127.0.0.1:{server.port}"])])
        process = GatewayProcess(endpoint, "drain_timeout_s=1")
        with contextlib.closing(socket.create_connection(("127.0.0.1", process.port))) as client:
            client.settimeout(20)
            if not is_first:  # and the connection to the model is one that is kept
                client.sendall(request(0))
                read_answers(client, 1)
            server.hangs = True
            client.sendall(request(1))
            while server.num_open == 0:
                time.sleep(0.005)
            process.process.terminate()
            (found,) = read_answers(client, 1)
        code = process.stop()

    assert (found[:3], code) == ((503, "r1", True), 0)
    assert [one.error for one in read_log(tmp_path)][-1] == "the server ended before the answer was there"
