"""Checkpoints: read by other numbers of processes, found out when damaged, few requests into S3, no room, SIGTERM."""

import json
import os
import random
import re
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from llmops_shared.contracts import TrainingRun
from llmops_shared.errors import LlmopsError
from llmops_train.checkpoint import Checkpoint, Progress
from llmops_train.checkpoint.names import COMMIT, complete_ones
from llmops_train.checkpoint.piece import local_piece
from llmops_train.checkpoint.read import newest, open_manifest
from llmops_train.checkpoint.team import Team
from support.ranks import Ranks
from support.tools import lacking
from unit.train.tiny import tiny_settings
from unit.train.trainee import LLAMA, NO_MOUNT, losses_in

TRAINEE = "unit.train.trainee:main"


def trainee(
    ranks: Ranks, text: str, out: Path, size: int = 1, nodes: int = 1, environment: dict[str, str] | None = None, **order: Any
) -> list[int]:
    """Exit codes of a training by these processes; its losses are in `<out>/losses`."""
    out.mkdir(parents=True, exist_ok=True)
    full = {"text": text, "folder": str(out / "checkpoint"), "losses": str(out / "losses"), **order}
    started = ranks.start([json.dumps(full)], size, nodes, environment, entry=TRAINEE)
    codes = started.codes()
    assert all(code in (0, -signal.SIGKILL) for code in codes), started.log()[-6000:]
    return codes


@pytest.fixture(scope="module")
def unbroken(ranks: Ranks, text: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The loss of each step of a run in one process that nothing stops."""
    out = tmp_path_factory.mktemp("unbroken")
    trainee(ranks, text, out)
    return {step: float.fromhex(*losses) for step, losses in losses_in(out / "losses").items()}


def means(out: Path) -> dict[int, float]:
    """The last loss seen at each step."""
    lines = [json.loads(line) for line in (out / "losses").read_text().splitlines()]
    return {step: float.fromhex(loss) for step, loss in lines}


FSDP = {"engine": "fsdp2"}
CHAINS = {
    "ddp": [(2, {"engine": "ddp"}), (1, {"engine": "none"}), (4, {"engine": "ddp"})],
    "fsdp2": [(2, FSDP), (1, FSDP), (4, FSDP)],
    "zero": [(2, {"engine": "deepspeed"}), (1, {"engine": "none"}), (4, {"engine": "deepspeed", "zero_stage": 3})],
    "3d": [(4, {**FSDP, "tensor": 2, "pipeline": 2}), (1, {"engine": "none"}), (2, {**FSDP, "tensor": 2})],
}


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_another_number_of_processes_goes_on_in_the_same_order(
    ranks: Ranks, text: str, tmp_path: Path, unbroken: dict[int, float], chain: str
) -> None:
    for number, (size, parallel) in enumerate(CHAINS[chain]):
        stop_at = (4, 8, None)[number]
        trainee(ranks, text, tmp_path, size, settings={"parallel": parallel, "checkpoint_every_steps": 100}, stop_at=stop_at)

    assert means(tmp_path) == pytest.approx(unbroken, abs=1e-5)
    assert len(unbroken) == 12


@pytest.mark.slow
def test_the_engine_for_smp_over_a_real_fsdp_goes_on_with_as_many_processes_and_says_that_others_cannot(
    ranks: Ranks, text: str, tmp_path: Path, unbroken: dict[int, float]
) -> None:
    settings = {"parallel": {"engine": "smp"}, "checkpoint_every_steps": 100}
    trainee(ranks, text, tmp_path, 2, settings=settings, stop_at=4)
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "kept")

    trainee(ranks, text, tmp_path, 2, settings=settings)

    assert means(tmp_path) == pytest.approx(unbroken, abs=1e-5)
    full = {"text": text, "folder": str(tmp_path / "kept"), "losses": str(tmp_path / "losses"), "settings": settings}
    started = ranks.start([json.dumps(full)], 3, entry=TRAINEE)
    assert started.codes() == [2, 2, 2]
    assert "was written by another number of processes than 3" in started.log()


@pytest.fixture(scope="module")
def two_checkpoints(ranks: Ranks, text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped run of two processes, with checkpoints after steps 2 and 4, of two files each."""
    out = tmp_path_factory.mktemp("two")
    trainee(ranks, text, out, 2, settings={"parallel": {"engine": "ddp"}, "checkpoint_every_steps": 2}, stop_at=4)
    return out / "checkpoint"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_has_a_file_of_each_and_its_tensors_once(two_checkpoints: Path) -> None:
    opened = newest(str(two_checkpoints), "request", Team())

    assert opened is not None and opened.manifest.progress.step == 4
    assert [name.partition("-")[0] + name[5:13] for name in names(two_checkpoints)] == ["step00000002"] * 2 + ["step00000004"] * 2
    assert len(opened.manifest.parts) == len(opened.names)
    assert {bool(part.file) for part in opened.manifest.parts} == {True, False}


@pytest.mark.slow
def test_any_flipped_byte_is_found_and_named_and_the_checkpoint_before_is_used(
    two_checkpoints: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = int(os.environ.get("LLMOPS_CHAOS_SEED") or random.randrange(2**32))
    print(f"seed {seed} (LLMOPS_CHAOS_SEED)")  # noqa: T201 - to run the same again
    generator = random.Random(seed)

    for path in [path for path in two_checkpoints.iterdir() if "step-00000004" in path.name]:
        whole = path.read_bytes()
        header = 8 + int.from_bytes(whole[:8], "little")
        places = [0, 7, 8, header - 1, header, len(whole) - 1, *(generator.randrange(len(whole)) for _ in range(40))]
        for place in places:
            broken = bytearray(whole)
            broken[place] ^= 1 << generator.randrange(8)
            path.write_bytes(broken)
            caplog.clear()

            opened = newest(str(two_checkpoints), "request", Team())

            assert opened is not None and opened.manifest.progress.step == 2, place
            assert f"{path}: is damaged (sha256" in caplog.text and "going back to" in caplog.text
        path.write_bytes(whole)
    assert newest(str(two_checkpoints), "request", Team()).manifest.progress.step == 4  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_missing_file_is_named_and_all_damaged_is_no_start_from_nothing(
    two_checkpoints: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(two_checkpoints, folder)
    (gone,) = folder.glob("step-00000004.rank-*")
    gone.unlink()

    assert newest(str(folder), "request", Team()).manifest.progress.step == 2  # type: ignore[union-attr]
    assert f"{gone}: is missing from its checkpoint" in caplog.text
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LlmopsError, match=r"every checkpoint is damaged .* delete the folder"):
        newest(str(folder), "request", Team())


class S3(NamedTuple):
    """An S3 of moto on loopback."""

    environment: dict[str, str]
    """The variables that lead to it."""
    seen: list[tuple[str, str, int]]
    """The requests it has taken: method, path with query, bytes."""
    refused: list[re.Pattern[str]]
    """Requests whose `METHOD path?query` matches one of these are denied."""


@pytest.fixture
def s3_server() -> Iterator[S3]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    seen: list[tuple[str, str, int]] = []
    refused: list[re.Pattern[str]] = []
    backend = DomainDispatcherApplication(create_backend_app)

    def counting(environment: dict[str, Any], start: Any) -> Any:
        method, path = environment["REQUEST_METHOD"], f"{environment['PATH_INFO']}?{environment.get('QUERY_STRING', '')}"
        if any(pattern.search(f"{method} {path}") for pattern in refused):
            environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        seen.append((method, path, int(environment.get("CONTENT_LENGTH") or 0)))
        return backend(environment, start)

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *arguments: Any) -> None:
            return None

    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/llmops-test", method="PUT")).close()
    seen.clear()
    yield S3({"AWS_ENDPOINT_URL": url, **credentials}, seen, refused)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_eight_processes_of_a_node_make_one_request_into_s3(ranks: Ranks, text: str, tmp_path: Path, s3_server: S3) -> None:
    environment, seen = s3_server.environment, s3_server.seen
    order = {
        "settings": {"parallel": {"engine": "fsdp2"}, "checkpoint_every_steps": 100},
        "stop_at": 2,
        "scratch": str(tmp_path / "scratch"),
    }
    puts: dict[int, list[tuple[str, int]]] = {}
    for nodes in (8, 1):  # each process on a node of its own writes as rank by rank does
        seen.clear()
        trainee(ranks, text, tmp_path / str(nodes), 8, nodes, environment, folder=f"s3://llmops-test/{nodes}", **order)
        puts[nodes] = [(path, size) for method, path, size in seen if method in ("PUT", "POST")]
    (together,) = puts[1]

    assert len(puts[8]) >= 8 * len(puts[1])
    tensors = {nodes: stored_tensors(environment, f"s3://llmops-test/{nodes}", tmp_path) for nodes in puts}
    assert tensors[1] == tensors[8] and len(tensors[1]) > 100
    assert together[1] > sum(map(len, tensors[1].values()))
    trainee(ranks, text, tmp_path / "1", 1, 1, environment, **{**order, "folder": "s3://llmops-test/1", "stop_at": 4})
    assert sorted(means(tmp_path / "1")) == [1, 2, 3, 4]
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
def test_large_files_go_in_parts_and_the_one_that_completes_a_checkpoint_comes_last(
    ranks: Ranks, text: str, tmp_path: Path, s3_server: S3
) -> None:
    wide = {**LLAMA, "hidden_size": 256, "intermediate_size": 704}
    settings = {"parallel": {"engine": "fsdp2"}, "checkpoint_every_steps": 100, "checkpoint_part_mib": 5, "architecture": wide}
    order = {"settings": settings, "stop_at": 1, "scratch": str(tmp_path / "scratch"), "folder": "s3://llmops-test/wide"}

    trainee(ranks, text, tmp_path, 2, 2, s3_server.environment, **order)

    uploads = [(method, path, size) for method, path, size in s3_server.seen if method in ("PUT", "POST")]
    parts = [(path.partition("?")[0], size) for method, path, size in uploads if method == "PUT"]
    ends = [path.partition("?")[0] for method, path, _ in uploads if method == "POST" and "uploadId=" in path]
    assert len(ends) == 2 and ".rank-00001-" in ends[0] and COMMIT.match(ends[1].rpartition("/")[2])
    for key in ends:
        sizes = sorted(size for path, size in parts if path == key)
        assert len(sizes) >= 2 and sizes[-1] < 5.1 * 2**20  # what signs a part comes on top
    assert {path for path, _ in parts} == set(ends)
    trainee(ranks, text, tmp_path, 1, 1, s3_server.environment, **{**order, "stop_at": 2})
    assert sorted(means(tmp_path)) == [1, 2]


@pytest.mark.slow
def test_an_upload_that_fails_takes_its_parts_back_and_leaves_the_checkpoint_before(
    s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmops_shared import s3

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3.client.cache_clear()
    folder = "s3://llmops-test/parts"
    checkpoint = Checkpoint(folder, "request", keep=3, scratch=str(tmp_path), part_bytes=5 * 2**20)
    tensor = torch.arange(3 * 2**20, dtype=torch.float32)  # 12 MiB
    checkpoint.save([local_piece("model.weight", tensor, written=True)], Progress(step=1))
    checkpoint.finish()
    begun = len([path for _, path, _ in s3_server.seen if "partNumber=" in path])

    s3_server.refused.append(re.compile(r"PUT .*step-00000002.*partNumber=2"))
    checkpoint.save([local_piece("model.weight", tensor + 1, written=True)], Progress(step=2))
    with pytest.raises(LlmopsError, match=r"step-00000002-.*AccessDenied|step-00000002-.*Access Denied"):
        checkpoint.finish()

    assert begun == 3
    assert [method for method, path, _ in s3_server.seen if "step-00000002" in path and method == "DELETE"] == ["DELETE"]
    client = s3.client()
    assert "Uploads" not in client.list_multipart_uploads(Bucket="llmops-test")
    assert [one.step for one in complete_ones(folder)] == [1] and not list(tmp_path.iterdir())
    s3.client.cache_clear()


def stored_tensors(environment: dict[str, str], uri: str, folder: Path) -> dict[str, bytes]:
    """Every tensor in the files below a URI of S3."""
    import boto3
    from safetensors.numpy import load

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    found: dict[str, bytes] = {}
    for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix + "/")["Contents"]:
        tensors = load(client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
        found |= {name: tensor.tobytes() for name, tensor in tensors.items()}
    client.close()
    return found


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_the_checkpoints_before(ranks: Ranks, text: str, tmp_path: Path) -> None:
    order = {"text": text, "folder": str(tmp_path / "checkpoint"), "losses": str(tmp_path / "losses"), "room_bytes": 1_300_000}
    settings = {"checkpoint_every_steps": 2, "keep_checkpoints": 8}

    started = ranks.start([json.dumps({**order, "settings": settings})], entry=TRAINEE)
    (code,) = started.codes()

    if code == NO_MOUNT:
        lacking("a file system of its own for one process", "run the tests as root, or in a container with CAP_SYS_ADMIN")
    message, listing = started.log().strip().splitlines()[-2:]
    assert code == 2
    assert "the checkpoint cannot be written (" in message and "No space left on device" in message and "free space" in message
    left = json.loads(listing)
    assert left and all(COMMIT.match(name) for name in left)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_sigterm_ends_a_run_within_ten_seconds_with_a_complete_checkpoint(ranks: Ranks, text: str, tmp_path: Path, size: int) -> None:
    out = tmp_path / "run"
    engine = {"engine": "ddp"} if size > 1 else {"engine": "none"}
    more = {"architecture": LLAMA, "max_steps": 4000, "checkpoint_every_steps": 3, "parallel": engine}
    settings = {**tiny_settings(method="pretrain", dataset=text, out=str(out)), **more}
    words = ["run", *(f"{key}={json.dumps(value)}" for key, value in settings.items())]

    started = ranks.start(words, size)
    wait_for(lambda: list((out / "checkpoint").glob("step-*")))
    asked = time.monotonic()
    os.kill(started.pids[-1], signal.SIGTERM)  # one process is enough
    codes = started.codes()
    took = time.monotonic() - asked

    assert codes == [0] * size and took < 10, started.log()[-3000:]
    assert "interrupted after step" in started.log()
    assert not (out / TrainingRun.file_name).exists()
    stopped = int(re.search(r"interrupted after step (\d+)", started.log())[1])  # type: ignore[index]
    opened = newest(str(out / "checkpoint"), request_of(out), Team())
    assert opened is not None and opened.manifest.progress.step == stopped


def request_of(out: Path) -> str:
    """The request that the newest checkpoint of a run belongs to."""
    return open_manifest(complete_ones(str(out / "checkpoint"))[0]).request


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
