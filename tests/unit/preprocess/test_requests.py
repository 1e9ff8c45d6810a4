"""Practices of S3, each by a count of what the client sent, and faults of a server on loopback: the right bytes, once."""

import json
import math
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from llmops_preprocess.cli import main
from llmops_shared import s3, s3_requests
from llmops_shared.errors import LlmopsError
from llmops_shared.s3 import RANGE_BYTES
from llmops_shared.store import join, store_for


def test_an_object_is_read_front_to_back_in_few_large_ranges(bucket):
    content = bytes(range(256)) * (5 * RANGE_BYTES // 512)
    store_for(bucket).write(f"{bucket}/raw/a.bin", content)
    s3_requests.take()

    with store_for(bucket).open(f"{bucket}/raw/a.bin") as file:
        assert file.read() == content

    gets = s3_requests.take()
    assert gets == Counter({"GetObject s3://llmops-test/raw": math.ceil(len(content) / RANGE_BYTES)})
    assert 1e9 / RANGE_BYTES <= 70
    store_for(bucket).write(f"{bucket}/raw/empty", b"")
    with store_for(bucket).open(f"{bucket}/raw/empty") as file:
        assert file.read() == b""


def test_planned_requests_of_each_prefix_are_those_that_are_sent(bucket, paragraphs, write_lines, preprocess, capsys):
    write_lines(join(bucket, "one/a.jsonl"), [{"text": text} for text in paragraphs[:100]])
    write_lines(join(bucket, "two/b.jsonl"), [{"text": text} for text in paragraphs[100:]])
    words = ["source.kind=jsonl", f"source.uri={bucket}", f"out={bucket}/out", "name=small", "workers=1"]

    assert main(["requests", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    preprocess(bucket, source={"kind": "jsonl", "uri": bucket}, workers=1)

    told = [line.partition("sent to S3: ")[2] for line in capsys.readouterr().err.splitlines() if "sent to S3: " in line]
    sent = dict(line.split(" ", 1)[::-1] for line in told)
    assert {prefix: of["gets"] for prefix, of in plan["read"].items()} == {f"{bucket}/one": 1, f"{bucket}/two": 1}
    assert {prefix: int(sent[f"GetObject {prefix}"]) for prefix in plan["read"]} == {f"{bucket}/one": 1, f"{bucket}/two": 1}
    assert plan["write"][f"{bucket}/out"]["puts_per_second"] > 0
    assert int(sent[f"PutObject {bucket}/out"]) > 5


def test_a_source_on_a_disk_has_no_requests(tmp_path, capsys):
    assert main(["requests", "name=x", f"out={tmp_path}", "source.kind=jsonl", f"source.uri={tmp_path}"]) == 2
    assert "is not read from S3" in capsys.readouterr().err


def test_one_process_of_a_machine_uploads_at_a_time(bucket):
    with s3.the_only_uploader():
        writer = threading.Thread(target=store_for(bucket).write, args=(f"{bucket}/x", b"1"))
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
    writer.join(60)
    assert store_for(bucket).read(f"{bucket}/x") == b"1"


class Faulty(BaseHTTPRequestHandler):
    """A bucket with one object a path, which fails as the list of the path says, one fault a request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        return

    def fault(self):
        waiting = self.server.faults.get(self.command, [])
        return waiting.pop(0) if waiting else None

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.seen["GET"] += 1
        match self.fault():
            case "503":
                return self.answer(503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
            case fault:
                content = self.server.objects[urlsplit(self.path).path]
                start, end = (int(place) for place in self.headers["Range"].removeprefix("bytes=").split("-"))
                piece = content[start : end + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{start + len(piece) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(piece)))
                self.end_headers()
                self.wfile.write(piece[: len(piece) // 2] if fault == "reset" else piece)
                if fault == "reset":
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.close()
        return None

    def do_PUT(self):
        self.server.seen["PUT"] += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        place = urlsplit(self.path)
        match self.fault():
            case "deny":
                return self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
            case "silent":
                self.server.objects[place.path] = body
                self.close_connection = True
                return self.connection.close()
        self.server.objects[place.path] = body
        return self.answer(200, headers=[("ETag", '"x"')])

    def do_POST(self):
        return self.answer(
            200, b"<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
        )

    def do_DELETE(self):
        self.server.seen["aborted"] += parse_qs(urlsplit(self.path).query).get("uploadId") == ["u1"]
        return self.answer(204)


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as found:
        found.objects, found.faults, found.seen = {}, {}, Counter()
        threading.Thread(target=found.serve_forever, daemon=True).start()
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


@pytest.mark.slow
@pytest.mark.chaos
def test_slow_down_and_a_reset_in_mid_body_give_the_right_bytes_after_a_wait(server):
    server.objects["/b/k"] = content = bytes(range(256)) * 4096
    server.faults["GET"] = ["503", "503", "reset", "reset"]
    started = time.monotonic()

    with store_for("s3://b/k").open("s3://b/k") as file:
        assert file.read() == content

    assert time.monotonic() - started > 0.05
    assert server.seen["GET"] == 5
    assert s3_requests.take() == Counter({"GetObject s3://b": 5})


@pytest.mark.slow
@pytest.mark.chaos
def test_a_put_that_succeeded_without_an_answer_is_there_once(server):
    server.faults["PUT"] = ["silent"]

    store_for("s3://b/k").write("s3://b/k", b"content")

    assert server.objects == {"/b/k": b"content"}
    assert server.seen["PUT"] == 2


@pytest.mark.slow
@pytest.mark.chaos
def test_a_multipart_upload_that_fails_is_aborted(server, tmp_path):
    (tmp_path / "large").write_bytes(bytes(2 * RANGE_BYTES))
    server.faults["PUT"] = ["deny"] * 4

    with pytest.raises(LlmopsError, match="s3://b/k: .*AccessDenied"):
        store_for("s3://b/k").write("s3://b/k", tmp_path / "large")

    assert server.seen["aborted"] == 1
    assert (tmp_path / "large").exists()
