"""Engines: the same bytes with any number of workers, after any kill, and on Spark; Glue gets the very request."""

import errno
import os
import random
import signal
import time
from multiprocessing import get_context

import pytest
from botocore.stub import Stubber

from llmops_preprocess import shards
from llmops_preprocess.cli import main, plan_run
from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.glue import run_on_glue
from llmops_shared import store
from llmops_shared.documents import sha256
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for

RULES = {"pii": {"action": "mask"}, "slice_bytes": 6000, "tracking": {"experiment": "engines"}}


def contents(folder):
    place = store_for(str(folder))
    return {entry.uri.removeprefix(str(folder)): sha256(place.read(entry.uri)) for entry in place.entries(str(folder))}


@pytest.fixture
def raw(root, paragraphs, write_lines):
    write_lines(join(root, "raw.jsonl"), [{"text": f"{text} Mail a{number}@b.org."} for number, text in enumerate(paragraphs)])
    return root


def test_batches_and_workers_change_no_byte_and_leave_no_parts(raw, preprocess):
    preprocess(raw, **(RULES | {"slice_bytes": 10**9}))

    for number, settings in enumerate(({"workers": 1}, {"workers": 1, "slice_bytes": 700})):
        preprocess(raw, out=join(raw, f"out{number}"), **(RULES | settings))
        assert contents(join(raw, f"out{number}")) == contents(join(raw, "out"))


def test_processes_change_no_byte(tmp_path, paragraphs, write_lines, preprocess):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs])

    preprocess(str(tmp_path), workers=1)
    preprocess(str(tmp_path), out=str(tmp_path / "two"), workers=2, slice_bytes=30_000)

    assert contents(tmp_path / "two") == contents(tmp_path / "out")
    assert not (tmp_path / "two" / "parts").exists()


def test_a_finished_dataset_is_kept_whatever_the_engine(tmp_path, paragraphs, write_lines, preprocess):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs])
    first = preprocess(str(tmp_path))

    assert preprocess(str(tmp_path), engine="spark", workers=7, slice_bytes=10) == first


def test_a_write_error_at_any_write_is_one_line_and_leaves_no_partial_file(tmp_path, paragraphs, write_lines, capsys, monkeypatch):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs[:120]])
    words = [
        "run", "name=small", "source.kind=jsonl", f"source.uri={tmp_path}/raw.jsonl", f"out={tmp_path}/out", "language.code=null",
        "vocab_size=400", "workers=1", "slice_bytes=9000",
    ]  # fmt: skip
    replace, calls, place = os.replace, [0], 0

    def full(source, target):
        calls[0] += 1
        if calls[0] == place:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(store.os, "replace", full)
    for place in range(1, 60):  # noqa: B007 - read by the function above
        calls[0], before = 0, set(contents(tmp_path))
        code = main(words)
        if code == 0:
            break
        error = capsys.readouterr().err.splitlines()[-1]
        assert code == 2
        assert "cannot be written (No space left on device)" in error
        named = error.partition(": cannot")[0].rpartition(" ")[2]
        assert named not in {f"{tmp_path}{name}" for name in set(contents(tmp_path)) - before}
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]

    assert place > 10
    assert (tmp_path / "out" / "dataset.json").exists()


def test_a_full_scratch_disk_is_named(tmp_path, paragraphs, write_lines, preprocess, monkeypatch):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": text} for text in paragraphs])

    def full(tensors, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "save_file", full)
    with pytest.raises(LlmopsError, match="train-00000-of-00001.safetensors: cannot be written"):
        preprocess(str(tmp_path))


def in_a_group(preprocess, root, settings):
    os.setpgrp()
    preprocess(root, **settings)


def kill_group(process):
    """Kills a process and its workers; one that has not yet a group of its own has no workers."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_killed_at_fifty_random_points_and_rerun_it_writes_the_same_bytes(tmp_path, paragraphs, write_lines, preprocess, monkeypatch):
    seed = int(os.environ.get("LLMOPS_CHAOS_SEED") or time.time())
    print(f"seed {seed} (LLMOPS_CHAOS_SEED)")  # noqa: T201 - to run the same again
    generator = random.Random(seed)
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": f"{text} Mail a{number}@b.org."} for number, text in enumerate(paragraphs)])
    settings = {**RULES, "workers": 1, "slice_bytes": 6000}
    started = time.monotonic()
    preprocess(str(tmp_path), **settings)
    whole_s = time.monotonic() - started
    expected = contents(tmp_path / "out")
    fork = get_context("fork")

    written, replace_content = [], store.replace_content

    def noted(place, content):
        written.append(str(place))
        replace_content(place, content)

    monkeypatch.setattr(store, "replace_content", noted)
    kills = kept = attempt = 0
    while kills < 50:
        out = tmp_path / f"attempt{attempt}"
        attempt += 1
        # every fifth time with processes of its own, which die with it
        workers = 2 if attempt % 5 == 0 else 1
        process = fork.Process(target=in_a_group, args=(preprocess, str(tmp_path), {**settings, "out": str(out), "workers": workers}))
        process.start()
        time.sleep(generator.uniform(0, workers * whole_s))
        alive = process.is_alive()
        kill_group(process)
        process.join()
        kills += alive and process.exitcode == -signal.SIGKILL
        parts = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("parts/*/*.json")}
        written.clear()
        preprocess(str(tmp_path), **{**settings, "out": str(out)})
        kept += len(parts)
        assert not set(map(str, parts)) & set(written), "a finished part was made again"
        left = {name: digest for name, digest in contents(out).items() if "/." not in name}
        assert left == expected, f"seed {seed}, attempt {attempt}"
    assert kept > 0


def test_a_glue_run_is_the_very_request(bucket, monkeypatch):
    import boto3

    for name in ("llmops_shared-0.1.0-py3-none-any.whl", "llmops_preprocess-0.1.0-py3-none-any.whl", "other.whl"):
        store_for(bucket).write(f"{bucket}/wheels/{name}", b"")
    config = PreprocessConfig.model_validate(
        {
            "name": "web", "out": f"{bucket}/out", "engine": "glue", "glue": {"wheels": f"{bucket}/wheels/", "poll_s": 0.01, "num_workers": 20},
            "source": {"kind": "jsonl", "uri": f"{bucket}/raw/"}, "pii": {"action": "mask"},
        }
    )  # fmt: skip
    client = boto3.client("glue", region_name="us-east-1")
    monkeypatch.setattr(boto3, "client", lambda name: client)
    request = {
        "JobName": "llmops-preprocess",
        "WorkerType": "G.2X",
        "NumberOfWorkers": 20,
        "Timeout": 2880,
        "Arguments": {
            "--additional-python-modules": f"{bucket}/wheels/llmops_preprocess-0.1.0-py3-none-any.whl,{bucket}/wheels/llmops_shared-0.1.0-py3-none-any.whl",
            "--enable-metrics": "true",
            "--enable-continuous-cloudwatch-log": "true",
            "--llmops_settings": '{"engine": "spark", "name": "web", "out": "s3://llmops-test/out", "pii": {"action": "mask"}, '
            '"source": {"kind": "jsonl", "uri": "s3://llmops-test/raw/"}}',
        },
    }

    asked = {"JobName": "llmops-preprocess", "MaxResults": 50}
    other = {"Id": "jr_0", "JobRunState": "RUNNING", "Arguments": {"--llmops_settings": "{}"}}
    with Stubber(client) as stub:
        stub.add_response("get_job_runs", {"JobRuns": [other]}, asked)
        stub.add_response("start_job_run", {"JobRunId": "jr_1"}, request)
        for state in ("STARTING", "RUNNING", "SUCCEEDED"):
            stub.add_response("get_job_run", {"JobRun": {"JobRunState": state}}, {"JobName": "llmops-preprocess", "RunId": "jr_1"})
        run_on_glue(config)
        stub.assert_no_pending_responses()
        assert plan_run(config) == {"StartJobRun": request}
        # a second submit follows the first
        stub.add_response(
            "get_job_runs", {"JobRuns": [other, {"Id": "jr_2", "JobRunState": "WAITING", "Arguments": request["Arguments"]}]}, asked
        )
        stub.add_response("get_job_run", {"JobRun": {"JobRunState": "FAILED", "ErrorMessage": "no memory"}})
        with pytest.raises(LlmopsError, match=r"run jr_2: FAILED \(no memory\); mend it and run the same command again"):
            run_on_glue(config)
        stub.add_response("get_job_runs", {"JobRuns": []}, asked)
        stub.add_client_error("start_job_run", "ConcurrentRunsExceededException", "too many")
        with pytest.raises(LlmopsError, match="ConcurrentRunsExceededException: too many; another run of this job is under way"):
            run_on_glue(config)


def test_glue_needs_a_place_in_s3_and_our_wheels(tmp_path, bucket):
    local = PreprocessConfig(name="x", out=str(tmp_path), engine="glue")
    with pytest.raises(LlmopsError, match="set out=s3://"):
        run_on_glue(local)
    config = PreprocessConfig.model_validate({"name": "x", "out": f"{bucket}/o", "engine": "glue", "glue": {"wheels": f"{bucket}/none/"}})
    with pytest.raises(LlmopsError, match="needs the wheels of llmops_shared and llmops_preprocess, has none"):
        run_on_glue(config)
