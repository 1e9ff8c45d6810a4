"""The exchange log on a disk and in S3."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from llmops_serve.capture import CaptureLog
from llmops_shared.contracts.exchange import Exchange, Message
from llmops_shared.store import store_for


def exchange(number, hour=10):
    return Exchange(
        request_id=f"r{number}",
        time=datetime(2026, 11, 23, hour, 30, tzinfo=UTC),
        endpoint="e",
        endpoint_sha256="",
        variant="production",
        shadow=False,
        package_sha256="",
        route="/generate",
        messages=[Message(role="user", content="line\nbreak ü")],
        response="ok",
        finish_reason="stop",
        num_prompt_tokens=1,
        num_response_tokens=1,
        latency_ms=1,
        first_token_ms=1,
        error=None,
        retrieval=None,
        metadata={},
    )


def read(root):
    """Request ids by file."""
    store = store_for(root)
    files = {entry.uri.removeprefix(f"{root}/"): store.read(entry.uri) for entry in store.entries(root)}
    return {name: [Exchange.model_validate_json(line).request_id for line in content.splitlines()] for name, content in files.items()}


def test_lines_lie_in_folders_of_the_hour_of_their_request(root):
    async def scenario():
        log = CaptureLog(root, "start")
        log.add(partial(exchange, 1, hour=9))
        log.add(partial(exchange, 2, hour=10))
        log.add(partial(exchange, 3, hour=10))
        await log.flush()
        log.add(partial(exchange, 4, hour=10))
        await log.close()

    asyncio.run(scenario())

    assert read(root) == {
        "2026/11/23/09/start-000000.jsonl": ["r1"],
        "2026/11/23/10/start-000001.jsonl": ["r2", "r3"],
        "2026/11/23/10/start-000002.jsonl": ["r4"],
    }


def test_nothing_is_written_when_there_is_nothing(root):
    async def scenario():
        log = CaptureLog(root, "start")
        await log.flush()
        await log.close()

    asyncio.run(scenario())

    assert read(root) == {}


def test_lines_wait_while_the_folder_cannot_be_written(tmp_path):
    blocked = tmp_path / "exchanges"
    blocked.write_text("a file where the folder should be")

    async def scenario():
        log = CaptureLog(str(blocked), "start")
        log.add(partial(exchange, 1))
        first = await log.flush()
        log.add(partial(exchange, 2))
        blocked.unlink()
        second = await log.flush()
        return first, second, log.num_written, log.num_lost

    assert asyncio.run(scenario()) == (False, True, 2, 0)
    assert read(str(blocked)) == {"2026/11/23/10/start-000000.jsonl": ["r1"], "2026/11/23/10/start-000001.jsonl": ["r2"]}


def test_what_cannot_be_written_at_the_end_is_counted_as_lost(tmp_path, caplog):
    blocked = Path(tmp_path / "exchanges")
    blocked.write_text("a file where the folder should be")
    caplog.set_level("INFO", "llmops_serve")

    async def scenario():
        log = CaptureLog(str(blocked), "start")
        log.add(partial(exchange, 1))
        await log.close()

    asyncio.run(scenario())

    assert "kept 0 exchanges" in caplog.text
    assert "lost 1" in caplog.text
