import json
import logging
from datetime import timedelta

import pytest

from llmops_monitor.config import TrafficWindow, Window
from llmops_monitor.load import capture_uri, dead_letter, digest, half_of, read_log, select
from llmops_shared.contracts import Endpoint
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from support.traffic import START, exchange, good, paired, poor, questions, write_log, write_scene

SECRET = "my card is 4111 1111 1111 1111"


def test_lines_of_any_file_at_any_depth_are_read_in_order_of_time(root: str) -> None:
    early, late, last = (exchange(questions()[0], number, good) for number in (1, 2, 3))
    write_log(join(root, "log"), [late], "2026/11/23/11.jsonl")
    write_log(join(root, "log"), [early], "zone/deeper/10.jsonl")
    write_log(join(root, "log"), [last], "last.jsonl")
    write_log(join(root, "log"), [last], "last.txt")
    write_log(join(root, "log-of-another-endpoint"), [exchange(questions()[1], 9, good)])

    assert read_log(join(root, "log")).exchanges == [early, late, last]


def test_a_record_counts_once_and_the_latest_is_kept(tmp_path) -> None:
    row = questions()[0]
    first = exchange(row, 1, good, response="first")
    second = exchange(row, 1, good, response="second", time=first.time + timedelta(seconds=9))
    shadow = exchange(row, 1, good, shadow=True)
    write_log(str(tmp_path), [first, shadow, second, first])

    log = read_log(str(tmp_path))

    assert log.exchanges == [shadow, second]
    assert log.num_repeats == 2


def test_broken_lines_are_listed_without_their_text(root: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = exchange(questions()[0], 1, good)
    line = whole.model_dump_json().encode()
    other_role = line.replace(b'"role":"user"', SECRET.encode().join([b'"role":"', b'"']))
    other_key = json.dumps({**json.loads(line), SECRET: 1}).encode()
    broken = [line[:-40], other_role, other_key, SECRET.encode(), b"\xff\xfe" + line, b"[1]", b"{}"]
    folder = join(root, "log")
    store_for(folder).write(join(folder, "a.jsonl"), b"\n".join([broken[0], line, b"", b"   ", *broken[1:]]) + b"\n")

    with caplog.at_level(logging.DEBUG):
        log = read_log(folder)

    assert log.exchanges == [whole]
    assert [(item.file, item.line_number) for item in log.broken] == [("a.jsonl", number) for number in (1, 5, 6, 7, 8, 9, 10)]
    assert all(item.reason for item in log.broken)
    assert len(dead_letter(log.broken).splitlines()) == len(broken)
    for text in (caplog.text, dead_letter(log.broken).decode()):
        assert SECRET not in text and whole.messages[0].content not in text


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_logs_is_named(tmp_path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".part.jsonl").write_text("half")

    with pytest.raises(LlmopsError, match=f"{name}: holds no exchange log"):
        read_log(str(tmp_path / name))


def test_windows_in_a_row_share_no_exchange(tmp_path) -> None:
    exchanges = [exchange(row, number, good) for number, row in enumerate(questions()[:20])]
    write_log(str(tmp_path), exchanges)
    log = read_log(str(tmp_path))
    middle = START + timedelta(seconds=10)

    before, after = select(log, Window(until=middle), "select"), select(log, Window(since=middle), "select")

    assert before == exchanges[:10] and after == exchanges[10:]


def test_halves_are_a_division_that_keeps_pairs_together(tmp_path) -> None:
    exchanges = paired(questions()[:200])
    write_log(str(tmp_path), exchanges)
    log = read_log(str(tmp_path))

    halves = [select(log, Window(half=half), "select") for half in ("first", "second")]

    ids = [{item.request_id for item in half} for half in halves]
    assert not ids[0] & ids[1] and len(halves[0]) + len(halves[1]) == 400
    assert all(len(half) == 2 * len(found) for half, found in zip(halves, ids, strict=True))
    assert 70 < len(ids[0]) < 130
    assert half_of("request-00001") == half_of("request-00001")


def test_a_traffic_window_is_what_clients_saw_unless_a_variant_is_named(tmp_path) -> None:
    write_log(str(tmp_path), paired(questions()[:10]))
    log = read_log(str(tmp_path))

    assert {item.variant for item in select(log, TrafficWindow(), "current")} == {"production"}
    assert {item.variant for item in select(log, TrafficWindow(variant="shadow"), "current")} == {"shadow"}


def test_an_empty_window_says_what_was_asked_and_what_is_there(tmp_path) -> None:
    asked_for = {"window": "in_domain"}
    exchanges = [exchange(row, number, good, metadata=asked_for) for number, row in enumerate(questions()[:7])]
    write_log(str(tmp_path), [*exchanges, exchange(questions()[8], 99, poor, metadata={})])

    with pytest.raises(LlmopsError) as caught:
        select(read_log(str(tmp_path)), TrafficWindow(metadata={"window": "shiftd"}, half="first"), "current")

    message = str(caught.value)
    assert message.startswith(f"current: no exchange in {tmp_path} is of metadata.window=shiftd, half=first; it holds 8 exchanges from ")
    assert "metadata.window: (none) 1, in_domain 7; variant: production 8" in message


def test_a_log_of_broken_lines_only_is_an_empty_window(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text("{\n")

    with pytest.raises(LlmopsError, match=r"holds no exchange at all \(1 broken lines\)"):
        select(read_log(str(tmp_path)), Window(), "select")


def test_a_digest_changes_with_the_selection_and_with_nothing_else(tmp_path) -> None:
    exchanges = [exchange(row, number, good) for number, row in enumerate(questions()[:4])]

    assert digest(exchanges, []) == digest(list(exchanges), [])
    assert digest(exchanges, []) != digest(exchanges[1:], [])


def test_an_endpoint_without_capture_is_refused(root: str) -> None:
    scene = write_scene(root, [])
    endpoint = read_document(scene.endpoint, Endpoint)

    assert capture_uri(scene.endpoint, endpoint) == scene.exchanges
    with pytest.raises(LlmopsError, match=r"endpoint.json: keeps no exchanges; deploy the endpoint with capture="):
        capture_uri(scene.endpoint, endpoint.model_copy(update={"capture": None}))
