"""Input modes: the same rows in the same order, whatever lies behind them."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from llmops_shared.contracts import DatasetManifest
from llmops_shared.errors import LlmopsError
from llmops_train.feed.open import arrange_shards, find_shards, open_split
from llmops_train.feed.order import Order, arrange
from llmops_train.feed.sequences import Arrangement, Sequences
from llmops_train.feed_config import FeedConfig
from unit.train.shards import everything, numbers_of, shard_paths, write_shards

ROWS = [40, 7, 33, 1, 24]
SMALL = {"shuffle_sequences": 24, "range_bytes": 4096, "lanes": 2}
"""Blocks of 8 rows of 256 tokens, windows of three blocks."""

Dataset = tuple[str, DatasetManifest]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """105 chat sequences of 256 tokens in five shards of both forms."""
    return write_shards(str(tmp_path_factory.mktemp("shards")), ROWS, length=256, webdataset=True)


def drawn(sequences: Sequences, steps: range, batch: int = 6, seed: int = 5) -> list[list[int]]:
    """The rows of some steps, as their content says."""
    order = Order(sequences, batch, seed)
    return [numbers_of(sequences.take(order.rows(step))) for step in steps]


@pytest.mark.parametrize("mode", ["copy", "fsx", "fastfile", "auto"])
@pytest.mark.parametrize("shards", ["safetensors", "webdataset"])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_mode_gives_the_same_rows_in_the_same_order(dataset: Dataset, mode: str, shards: str, workers: int, tmp_path: Path) -> None:
    reference = open_split(*dataset, "train", FeedConfig(input_mode="file", **SMALL))
    settings = {**SMALL, "input_mode": mode, "shards": shards, "workers": workers, "copy_dir": str(tmp_path)}

    sequences = open_split(*dataset, "train", FeedConfig.model_validate(settings))

    assert everything(sequences) == everything(reference)
    assert drawn(sequences, range(40)) == drawn(reference, range(40))
    assert drawn(sequences, range(23, 30)) == drawn(reference, range(40))[23:30]  # going on in the middle, and in another epoch


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "copy", "auto"])
@pytest.mark.parametrize("shards", ["safetensors", "webdataset"])
def test_s3_gives_the_same_rows_in_the_same_order(dataset: Dataset, bucket: str, mode: str, shards: str, tmp_path: Path) -> None:
    reference = open_split(*dataset, "train", FeedConfig(input_mode="file", **SMALL))
    place, manifest = write_shards(f"{bucket}/numbers", ROWS, length=256, webdataset=True)
    settings = {**SMALL, "input_mode": mode, "shards": shards, "copy_dir": str(tmp_path)}

    sequences = open_split(place, manifest, "train", FeedConfig.model_validate(settings))

    assert everything(sequences) == everything(reference)
    assert drawn(sequences, range(40)) == drawn(reference, range(40))


THEIR_WRITER = """
import sys
import numpy as np
import webdataset
for target, source in zip(sys.argv[1::2], sys.argv[2::2]):
    with webdataset.TarWriter(target) as tar:
        for number, sample in enumerate(webdataset.WebDataset([source], shardshuffle=False).decode()):
            tar.write({"__key__": f"row-{number:06d}", **{name: value for name, value in sample.items() if name.endswith("npy")}})
"""


@pytest.mark.slow
def test_the_webdataset_library_reads_our_tar_files_and_we_read_what_it_writes(dataset: Dataset, tmp_path: Path) -> None:
    from importlib.util import find_spec

    from support.tools import lacking

    if find_spec("webdataset") is None:
        lacking("webdataset", "pip install webdataset")
    place, manifest = dataset
    train = manifest.splits["train"]
    shards = [shard for shard in train.shards if shard.path.endswith(".tar")]
    paths = [tmp_path / Path(shard.path).name for shard in shards]
    pairs = [str(path) for pair in zip(paths, shard_paths(place, "tar"), strict=True) for path in pair]
    subprocess.run([sys.executable, "-c", THEIR_WRITER, *pairs], check=True)  # in a process of its own, for it leaves files open
    written = [
        shard.model_copy(update={"path": str(path), "size_bytes": path.stat().st_size}) for shard, path in zip(shards, paths, strict=True)
    ]
    theirs = manifest.model_copy(update={"splits": {"train": train.model_copy(update={"shards": written})}})

    sequences = open_split(place, theirs, "train", FeedConfig(shards="webdataset", verify="sizes"))

    assert everything(sequences) == everything(open_split(place, manifest, "train", FeedConfig()))


@pytest.mark.parametrize("window", [4, 24, 60, 1000])
@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_an_epoch_has_every_row_once_and_mixes_them(window: int, lanes: int) -> None:
    order = Order(0, 5, 3, Arrangement(tuple(ROWS), 4, window, lanes))

    rows = np.concatenate([order.rows(step) for step in range(63)])

    assert sorted(rows[:105]) == sorted(rows[105:210]) == sorted(rows[210:315]) == list(range(105))
    assert rows[:105].tolist() != rows[105:210].tolist()
    assert Order(0, 5, 3, order.arrangement).rows(37).tolist() == rows[185:190].tolist()
    assert Order(0, 5, 4, order.arrangement).rows(0).tolist() != rows[:5].tolist()


def test_a_step_is_the_same_for_every_number_of_processes() -> None:
    arrangement = Arrangement(tuple(ROWS), 4, 24, 2)
    whole = [Order(0, 12, 9, arrangement).rows(step).tolist() for step in range(20)]

    for sizes in ([2] * 20, [1] * 20, [4] * 20, [2] * 6 + [1] * 7 + [4] * 7):
        orders = [Order(0, 12, 9, arrangement) for _ in range(4)]  # each process has its own, and a fresh one after a restart
        seen = []
        for step, size in enumerate(sizes):
            if step in (6, 13):
                orders = [Order(0, 12, 9, arrangement) for _ in range(4)]
            shares = [np.array_split(order.rows(step), size)[rank].tolist() for rank, order in enumerate(orders[:size])]
            seen.append([row for share in shares for row in share])
        assert seen == whole


def test_shards_are_read_from_beginning_to_end_few_at_a_time() -> None:
    arrangement = Arrangement((100, 80, 120, 60, 40, 90), 10, 40, 2)

    epoch = arrange(arrangement, seed=1, number=0)

    open_now: set[int] = set()
    finished: set[int] = set()
    reached = dict.fromkeys(range(6), 0)
    for shard, start, stop in zip(epoch.shards.tolist(), epoch.starts.tolist(), epoch.stops.tolist(), strict=True):
        assert start == reached[shard]
        assert shard not in finished
        open_now.add(shard)
        assert len(open_now) <= 2
        reached[shard] = stop
        if stop == arrangement.shard_rows[shard]:
            open_now.remove(shard)
            finished.add(shard)
    assert tuple(reached.values()) == arrangement.shard_rows


def test_going_on_in_the_middle_of_an_epoch_takes_milliseconds(tmp_path: Path) -> None:
    place, manifest = write_shards(str(tmp_path), [4000] * 4, length=128, view="text")
    sequences = open_split(place, manifest, "train", FeedConfig(input_mode="file", shuffle_sequences=2048, range_bytes=64 * 1024))

    taken = []
    for step in (1000, 700, 1500, 300, 1200):
        began = time.perf_counter()
        order = Order(sequences, 8, 1)
        assert len(numbers_of(sequences.take(order.rows(step)))) == 8
        taken.append(time.perf_counter() - began)

    assert min(taken) <= 0.005, taken


FOOTPRINT = """
import resource, sys
from llmops_shared.contracts import DatasetManifest
from llmops_shared.documents import read_document
from llmops_train.feed.open import open_split
from llmops_train.feed.order import Order
from llmops_train.feed_config import FeedConfig
from unit.train.shards import numbers_of
place, mode = sys.argv[1:]
config = FeedConfig(input_mode=mode, shuffle_sequences=1024, range_bytes=2**20, workers=2)
sequences = open_split(place, read_document(place, DatasetManifest), "train", config)
order = Order(sequences, 16, 0)
seen = set(numbers_of(sequences.take(order.rows(0))))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for step in range(1, len(sequences) // 16):
    seen.update(numbers_of(sequences.take(order.rows(step))))
assert len(seen) == len(sequences), len(seen)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def run_footprint(place: str, mode: str, *before: str) -> subprocess.CompletedProcess[str]:
    """One epoch in a process of its own."""
    argv = [*before, sys.executable, "-c", FOOTPRINT, place, mode]
    return subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_memory_holds_two_windows_however_large_the_split(tmp_path: Path) -> None:
    place, _ = write_shards(str(tmp_path), [4096] * 4, length=2048, view="text")
    two_windows_kib = 2 * 1024 * 2048 * 4 / 1024

    grown_kib = int(run_footprint(place, "fastfile").stdout)

    size_kib = sum(path.stat().st_size for path in shard_paths(place)) / 1024
    assert size_kib > 7.9 * two_windows_kib
    assert grown_kib < 1.5 * two_windows_kib


@pytest.mark.slow
def test_fastfile_opens_few_files_and_reads_each_forward(tmp_path: Path) -> None:
    from shutil import which

    from support.tools import lacking

    if not which("strace"):
        lacking("strace", "apt-get install strace")
    place, _ = write_shards(str(tmp_path / "numbers"), [1600] * 6, length=512, view="text")
    trace = tmp_path / "trace"

    run_footprint(place, "fastfile", "strace", "-f", "-y", "-qq", "-e", "trace=openat,preadv,close", "-o", str(trace))

    opened, most, places, shards_open = 0, 0, {}, []
    for line in trace.read_text().splitlines():
        if ".safetensors" not in line:
            continue
        call = line.split("(")[0].split()[-1]
        if call == "openat" and "O_RDONLY" in line:
            handle = int(line.rpartition("= ")[2].split("<")[0])
            opened += 1
            places[handle] = None
            shards_open.append(handle)
            most = max(most, len(shards_open))
        elif call == "close":
            handle = int(line.partition("close(")[2].split("<")[0])
            shards_open.remove(handle)
        elif call == "preadv":
            handle = int(line.partition("preadv(")[2].split("<")[0])
            offset, count = int(line.rpartition(")")[0].rpartition(", ")[2]), int(line.rpartition("= ")[2])
            assert places[handle] in (None, offset)  # goes on where it stopped
            places[handle] = offset + count
    # once for the header and once for each tensor, never again in the epoch; the next epoch's first window is read ahead
    assert 3 * 6 <= opened <= 3 * 6 + 2 * 2
    assert most <= 3 * 2


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    place, manifest = write_shards(str(tmp_path), [20, 20], webdataset=True)
    path = shard_paths(place)[1]
    whole = path.read_bytes()

    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for mode in ("file", "copy"):
        with pytest.raises(LlmopsError, match=r"train-00001.safetensors: is damaged"):
            open_split(place, manifest, "train", FeedConfig.model_validate({"input_mode": mode, "copy_dir": str(tmp_path / "copy")}))
    path.write_bytes(whole[:-1])
    for mode in ("fsx", "fastfile"):
        with pytest.raises(LlmopsError, match=r"train-00001.safetensors: is damaged"):
            open_split(place, manifest, "train", FeedConfig.model_validate({"input_mode": mode}))
    path.write_bytes(b"\xff" * len(whole))
    with pytest.raises(LlmopsError, match="is no safetensors file of tokens"):
        drawn(open_split(place, manifest, "train", FeedConfig(input_mode="fsx")), range(3), batch=20)

    tar = shard_paths(place, "tar")[0]
    tar.write_bytes(b"\1" * tar.stat().st_size)
    with pytest.raises(LlmopsError, match="is no tar file of samples of equal size"):
        open_split(place, manifest, "train", FeedConfig(shards="webdataset", verify="sizes"))


@pytest.mark.slow
def test_s3_is_asked_for_large_ranges_only(bucket: str, tmp_path: Path) -> None:
    place, manifest = write_shards(f"{bucket}/numbers", [600, 600], length=512, view="text")
    config = FeedConfig(input_mode="stream", shuffle_sequences=256, range_bytes=128 * 1024)
    sequences = open_split(place, manifest, "train", config)
    size = sum(shard.size_bytes for shard in manifest.splits["train"].shards)

    seen = [number for step in drawn(sequences, range(1200 // 8), batch=8) for number in step]

    requests = sequences.ranges.num_requests  # type: ignore[attr-defined]
    assert sorted(seen) == list(range(1200))
    # the last blocks of a shard are short, and the next epoch's first window is read ahead
    assert requests <= 1.35 * size / config.range_bytes + 2
    whole = arrange_shards(find_shards(place, manifest, "train", config), manifest, FeedConfig())
    assert 1e9 / (whole.block_rows * 512 * 2) <= 70  # requests a gigabyte with the default range


@pytest.mark.parametrize(
    ("size", "epochs", "free", "rate", "mode", "words"),
    [
        (1e9, 3, 1e12, None, "copy", "read 3 times"),
        (1e9, 3, 1e12, 1e5, "copy", "of 7.5e+03 s at 1e+05 tokens/s"),
        (1e9, 3, 1e12, 1e9, "stream", "over 5% of the"),
        (1e9, 3, 1e9, 1e5, "stream", "more than 80% of the 1 GB free"),
        (1e13, 1, 1e12, 1e7, "stream", "more than 80%"),
        (1e9, 1, 1e12, 1e5, "stream", "read once"),
    ],
)
def test_the_mode_is_planned_and_the_reason_given(
    size: float, epochs: float, free: float, rate: float | None, mode: str, words: str
) -> None:
    from llmops_train.feed.plan import plan_s3

    plan = plan_s3(int(size), int(size / 4), epochs, free, "/nvme", rate, "facts")

    assert plan.mode == mode
    assert words in plan.reason


def test_a_copy_that_does_not_fit_is_refused_and_one_that_is_there_is_kept(dataset: Dataset, tmp_path: Path) -> None:
    config = FeedConfig(input_mode="copy", copy_dir=str(tmp_path))
    open_split(*dataset, "train", config)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}

    open_split(*dataset, "train", config)

    assert len(times) == len(ROWS)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")} == times
    place, manifest = dataset
    train = manifest.splits["train"]
    huge = [shard.model_copy(update={"size_bytes": 10**18, "sha256": "f" * 64}) for shard in train.shards]
    larger = manifest.model_copy(update={"splits": {"train": train.model_copy(update={"shards": huge})}})
    with pytest.raises(LlmopsError, match=r"GB free, but .* GB of shards are to be copied"):
        open_split(place, larger, "train", config)


def test_settings_that_cannot_be_are_refused() -> None:
    for settings in ({"input_mode": "remote"}, {"servers": ["a:1"]}, {"input_mode": "remote", "servers": ["a"]}):
        with pytest.raises(ValueError, match="servers"):
            FeedConfig.model_validate(settings)


@pytest.mark.slow
@pytest.mark.chaos
def test_s3_that_slows_down_or_breaks_off_is_asked_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    place, manifest = dataset
    reference = open_split(place, manifest, "train", FeedConfig(input_mode="file", **SMALL))
    content = {
        f"/llmops-test/numbers/{path.parent.name}/{path.name}": path.read_bytes() for path in Path(place).parent.rglob("*.safetensors")
    }
    faults = {3: "slow", 5: "cut", 8: "cut", 11: "slow"}
    seen: list[str] = []

    class Bucket(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            fault = faults.get(len(seen))
            if fault == "slow":
                body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                self.send_response(503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            start, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            whole = content[self.path]
            piece = whole[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(piece) - 1}/{len(whole)}")
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            self.wfile.write(piece[: len(piece) // 2] if fault == "cut" else piece)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        values = {
            "ACCESS_KEY_ID": "x",
            "SECRET_ACCESS_KEY": "x",
            "DEFAULT_REGION": "us-east-1",
            "ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
        }
        for name, value in values.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        sequences = open_split(
            "s3://llmops-test/numbers/dataset.json", manifest, "train", FeedConfig(input_mode="stream", workers=1, **SMALL)
        )
        rows = drawn(sequences, range(20))
        server.shutdown()
        thread.join()

    assert rows == drawn(reference, range(20))
    assert len(seen) > max(faults)  # every fault happened
