"""Hosts that read for others: real processes, real sockets."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llmops_shared.contracts import DatasetManifest
from llmops_shared.errors import LlmopsError
from llmops_train.feed.open import open_split
from llmops_train.feed.order import Order
from llmops_train.feed.server import stop
from llmops_train.feed_config import FeedConfig
from unit.train.shards import everything, numbers_of, write_shards

ORDER = ["feed.shuffle_sequences=24", "feed.range_bytes=4096"]
SMALL = {"shuffle_sequences": 24, "range_bytes": 4096}

Dataset = tuple[str, DatasetManifest]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """105 chat sequences in five shards."""
    return write_shards(str(tmp_path_factory.mktemp("shards")), [40, 7, 33, 1, 24], length=256)


class Host:
    """One process of `llmops-train feed`."""

    def __init__(self, *settings: str) -> None:
        command = [sys.executable, "-m", "llmops_train.cli", "feed", "port=0", *settings]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert self.process.stderr
        self.log: list[str] = []
        for line in self.process.stderr:
            self.log.append(line)
            if "listens on" in line:
                self.address = line.split("listens on ")[1].strip()
                return
        raise AssertionError("".join(self.log))

    def end(self) -> None:
        """Kills it if it still runs."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def host(dataset: Dataset) -> Iterator[Host]:
    """A feed of the dataset."""
    started = Host(f"dataset={Path(dataset[0]).parent}", "feed.input_mode=fsx", *ORDER)
    yield started
    started.end()


def remote(dataset: Dataset, servers: list[str], **settings: object) -> FeedConfig:
    return FeedConfig.model_validate({**SMALL, "input_mode": "remote", "servers": servers, "timeout_s": 20, **settings})


@pytest.mark.slow
def test_rows_of_other_hosts_are_the_same_and_one_host_may_die(dataset: Dataset) -> None:
    hosts = [Host(f"dataset={Path(dataset[0]).parent}", "feed.input_mode=fsx", *ORDER) for _ in range(2)]
    reference = open_split(*dataset, "train", FeedConfig.model_validate(SMALL))
    whole = Order(reference, 6, 1)
    expected = [numbers_of(reference.take(whole.rows(step))) for step in range(40)]
    config = remote(dataset, [host.address for host in hosts])
    ranks = [open_split(*dataset, "train", config) for _ in range(2)]
    orders = [Order(sequences, 6, 1) for sequences in ranks]

    seen = []
    for step in range(40):
        if step == 15:
            hosts[0].process.send_signal(signal.SIGKILL)
        parts = [
            numbers_of(sequences.take(order.rows(step)[3 * rank : 3 * rank + 3]))
            for rank, (sequences, order) in enumerate(zip(ranks, orders, strict=True))
        ]
        seen.append(parts[0] + parts[1])
    validation = open_split(*dataset, "validation", config)

    assert seen == expected
    assert everything(validation) == everything(open_split(*dataset, "validation", FeedConfig()))
    for sequences in (*ranks, validation):
        sequences.close()  # type: ignore[attr-defined]
    stop([host.address for host in hosts], 0)  # the dead one is passed over
    assert hosts[1].process.wait(timeout=20) == 0
    for host in hosts:
        host.end()


def test_a_feed_of_other_data_or_another_order_is_refused(dataset: Dataset, host: Host, tmp_path: Path) -> None:
    servers = [host.address]

    with pytest.raises(LlmopsError, match=r"in another order \(window_rows\)"):
        open_split(*dataset, "train", remote(dataset, servers, shuffle_sequences=48))
    with pytest.raises(LlmopsError, match="the trainer reads another dataset"):
        open_split(*write_shards(str(tmp_path), [9], length=256), "train", remote(dataset, servers))


@pytest.mark.slow
def test_no_feed_at_all_is_said_after_the_wait(dataset: Dataset) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(LlmopsError, match=rf"no host of feed.servers answered for 1 s \(127.0.0.1:{port}: .*refused"):
        open_split(*dataset, "train", remote(dataset, [f"127.0.0.1:{port}"], timeout_s=1))


def test_what_is_no_feed_message_ends_the_connection_and_nothing_else(dataset: Dataset, host: Host) -> None:
    name, _, port = host.address.rpartition(":")
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(64), b"\0\0\0\2\0\0\0\0[]", b"\0\0\0\2\0\0\0\4{}abcd"):
        with socket.create_connection((name, int(port)), timeout=20) as connection:
            connection.sendall(nonsense)
            with suppress(OSError):  # where it has ended already
                connection.shutdown(socket.SHUT_WR)
            try:
                assert connection.recv(1) == b""
            except ConnectionResetError:  # it ended with something unread
                continue

    assert len(everything(open_split(*dataset, "train", remote(dataset, [host.address])))) == 64


@pytest.mark.slow
def test_a_feed_that_nobody_comes_to_ends_with_a_message(dataset: Dataset) -> None:
    host = Host(f"dataset={Path(dataset[0]).parent}", "idle_s=0.2")

    _, log = host.process.communicate(timeout=20)

    assert host.process.returncode == 2
    assert "no trainer was connected for 0 s" in log


def test_a_port_in_use_is_named(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    from llmops_train.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = main(["feed", f"dataset={Path(dataset[0]).parent}", f"port={taken.getsockname()[1]}"])

    assert code == 2
    assert "cannot listen there (Address already in use)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_host_tokenizes_text_for_the_ones_that_train(text: str) -> None:
    import json

    from tokenizers import Tokenizer

    from llmops_shared.documents import read_document

    place, manifest = f"{text}/dataset.json", read_document(text, DatasetManifest)
    host = Host(f"dataset={text}", "feed.shards=rows")
    sequences = open_split(place, manifest, "train", FeedConfig(shards="rows", input_mode="remote", servers=[host.address]))
    order = Order(sequences, 5, 3)

    taken = [sequences.take(order.rows(step)) for step in range(len(sequences) // 5)]
    sequences.close()  # type: ignore[attr-defined]
    host.end()

    tokenizer = Tokenizer.from_file(f"{text}/tokenizer/tokenizer.json")
    end = tokenizer.token_to_id("<|endoftext|>")
    lines = (Path(text) / manifest.splits["train"].rows[0].path).read_text().splitlines()
    expected = sorted([*tokenizer.encode(json.loads(line)["text"]).ids, end][:64] for line in lines)
    found = sorted(
        row[: int((row_documents > 0).sum())].tolist()
        for part in taken
        for row, row_documents in zip(part.input_ids, part.document_ids, strict=True)
    )
    assert found == expected
    assert len(sequences) == manifest.splits["train"].num_rows
