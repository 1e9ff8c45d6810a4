"""Practices of S3, each by a count of what the client sent, and faults of a server on loopback: the right bytes, once."""

import json
import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from llmops_preprocess.cli import main
from llmops_shared import s3, s3_requests
from llmops_shared.errors import LlmopsError
from llmops_shared.s3 import MAX_CONCURRENCY, RANGE_BYTES
from llmops_shared.store import join, store_for
from support.s3_server import serving


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


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as found:
        yield found


def test_a_shard_of_100_megabytes_is_read_one_range_after_another_over_one_connection_at_60_gets_a_gigabyte(server):
    server.objects["/b/shard"] = bytes(100_000_000)

    with store_for("s3://b/shard").open("s3://b/shard") as file:
        while file.read(1 << 20):
            pass

    firsts = [int(asked.span.removeprefix("bytes=").partition("-")[0]) for asked in server.asked]
    assert firsts == list(range(0, 100_000_000, RANGE_BYTES))
    assert len(firsts) / 0.1 <= 70
    assert server.most_in_flight == len({asked.connection for asked in server.asked}) == 1


@pytest.mark.slow
def test_requests_at_one_time_never_pass_the_bound_and_processes_upload_one_after_another(server, tmp_path):
    server.hold_s, size = 0.2, 10 * RANGE_BYTES
    program = "import sys\nfrom pathlib import Path\nfrom llmops_shared.s3 import S3Store\nS3Store().write(sys.argv[1], Path(sys.argv[2]))"
    uploads = []
    for name in ("one", "two"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
        uploads.append(subprocess.Popen([sys.executable, "-c", program, f"s3://b/{name}", str(tmp_path / name)]))

    assert [upload.wait(120) for upload in uploads] == [0, 0]

    assert {path: len(content) for path, content in server.objects.items()} == {"/b/one": size, "/b/two": size}
    assert server.seen["PUT"] == 2 * 10
    assert 4 <= server.most_in_flight <= MAX_CONCURRENCY
    assert frozenset({"/b/one", "/b/two"}) not in server.met

    server.most_in_flight = 0
    assert store_for("s3://b/one").fetch("s3://b/one").stat().st_size == size
    assert 4 <= server.most_in_flight <= MAX_CONCURRENCY


SEEDS = 0, 1, 2


@pytest.mark.slow
def test_clients_that_were_refused_together_do_not_come_back_together(server):
    waits = []
    for number, seed in enumerate(SEEDS):
        random.seed(seed)  # what botocore draws the jitter from
        server.asked.clear()
        server.objects[f"/b/{number}"], server.faults["GET"] = b"content", ["503"]
        s3.client.cache_clear()  # as in a process of its own

        with store_for("s3://b").open(f"s3://b/{number}") as file:
            assert file.read() == b"content"

        refused, again = server.asked
        waits.append(again.at - refused.at)
    assert all(random.Random(seed).random() <= wait for seed, wait in zip(SEEDS, waits, strict=True))
    assert max(waits) - min(waits) > 0.5


@pytest.mark.slow
@pytest.mark.chaos
def test_slow_down_and_a_reset_in_mid_body_give_the_right_bytes_after_a_wait(server):
    server.objects["/b/k"] = content = bytes(range(256)) * 4096
    server.faults["GET"] = ["503", "503", "reset", "reset"]
    random.seed(1)
    started = time.monotonic()

    with store_for("s3://b/k").open("s3://b/k") as file:
        assert file.read() == content

    drawn = random.Random(1)
    assert time.monotonic() - started > drawn.random() + 2 * drawn.random()
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
