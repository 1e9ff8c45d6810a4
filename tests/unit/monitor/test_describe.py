import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.describe import run
from llmops_monitor.traffic_config import DescribeConfig
from llmops_shared.contracts import Endpoint, Report
from llmops_shared.documents import follow, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from support.traffic import chat, exchange, good, questions, write_log, write_scene

REFUSAL = "I'm sorry, but I cannot help with that request."


def figures(report: Report) -> dict[str, float]:
    return {item.name: item.value for item in report.measurements}


def test_every_exchange_is_measured_and_no_text_is_written(root: str) -> None:
    rows = questions()[:60]
    exchanges = [exchange(row, number, good) for number, row in enumerate(rows)]
    exchanges += [
        exchange(chat(f"How do I do thing {word}?", "", "x"), 100 + number, good, response=REFUSAL) for number, word in enumerate("abcdef")
    ]
    exchanges.append(exchange(rows[0], 200, good, response="", error="engine: gone", finish_reason="error", first_token_ms=None))
    scene = write_scene(root, exchanges)

    report = run(DescribeConfig.model_validate({
        "out": join(root, "report"), "endpoint": scene.endpoint, "price": {"prompt_usd": 0.01, "response_usd": 0.03},
    }))  # fmt: skip

    measured = figures(report)
    assert report.report == "descriptors" and report.verdict is None
    assert measured["error"] == pytest.approx(1 / 67) and 0.05 < measured["refusal"] < 0.2 and measured["cost_usd"] > 0
    assert "refusal: 6 of 66 exchanges (9.1%) are at 0.4 or above." in report.reasons
    assert "groundedness" not in measured  # nothing was retrieved
    assert follow(report.subjects["endpoint"], join(root, "report"), Endpoint)[1].name == "assistant"
    store = store_for(root)
    lines = [json.loads(line) for line in store.read(join(root, "report", "rows.jsonl")).splitlines()]
    assert len(lines) == 67 and lines[0]["request_id"] == "request-00000" and lines[-1]["refusal"] is None
    page = store.read(join(root, "report", "report.html")).decode()
    assert "What is measured" in page
    for entry in store.entries(join(root, "report")):
        assert REFUSAL not in store.read(entry.uri).decode() and rows[3].messages[0].content not in store.read(entry.uri).decode()


def test_prompts_that_repeat_have_a_repeatability(tmp_path: Path) -> None:
    row = questions()[0]
    write_log(str(tmp_path / "log"), [exchange(row, number, good, response="always the same") for number in range(5)])

    report = run(DescribeConfig(out=str(tmp_path / "report"), exchanges=str(tmp_path / "log")))

    assert figures(report)["repeatability"] == 1
    assert "4 of 5 requests repeat a prompt of the window (80.0%)." in report.reasons


@pytest.mark.parametrize(
    "changes", [{"response": ""}, {"messages": []}, {"response": "", "error": "engine: gone", "finish_reason": "error"}]
)
def test_one_strange_exchange_is_described(tmp_path: Path, changes: dict[str, object]) -> None:
    write_log(str(tmp_path / "log"), [exchange(questions()[0], 1, good, **changes)])

    assert main(["describe", f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'report'}"]) == 0
    assert main(["describe", f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'report'}"]) == 0
    assert read_document(str(tmp_path / "report"), Report).measurements


@pytest.fixture
def judge() -> Iterator[str]:
    """A server that rates every answer, and once does not."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(body["messages"][0]["content"])
            answer = "I would rather not." if len(asked) == 1 else 'Here you are: {"toxicity": 0.75, "refusal": 7, "other": 1}'
            content = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_judge_takes_the_place_of_rules_by_one_word(tmp_path: Path, judge: str) -> None:
    write_log(str(tmp_path / "log"), [exchange(row, number, good) for number, row in enumerate(questions()[:20])])
    config = DescribeConfig(out=str(tmp_path / "report"), exchanges=str(tmp_path / "log"), scorer="endpoint", judge=judge, max_judged=10)

    report = run(config)

    measured = {item.name: item for item in report.measurements}
    assert (measured["toxicity"].value, measured["toxicity"].num_rows) == (0.75, 9)
    assert measured["refusal"].value == 1  # out of range is the end of the range
    assert "refusal, toxicity: by scorer endpoint on 10 of 20 exchanges, not by rules." in report.reasons
    assert "1 answers of the judge could not be read; their figures are missing." in report.reasons


def test_a_judge_that_is_not_there_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(str(tmp_path / "log"), [exchange(questions()[0], 1, good)])
    words = ["describe", f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'report'}"]

    codes = [
        main([*words, "scorer=endpoint"]),
        main([*words, "scorer=endpoint", "judge=http://127.0.0.1:9"]),
        main([*words, "price.prompt_usd=1"]),
    ]

    told = capsys.readouterr().err
    assert codes == [2, 2, 2]
    assert (
        "scorer=endpoint needs judge=" in told
        and "does not answer as an OpenAI-compatible server" in told
        and "give both price.prompt_usd" in told
    )


def test_an_unknown_index_is_named(tmp_path: Path) -> None:
    write_log(str(tmp_path / "log"), [exchange(questions()[0], 1, good)])

    with pytest.raises(LlmopsError, match="there is no such RetrievalIndex"):
        run(DescribeConfig(out=str(tmp_path / "report"), exchanges=str(tmp_path / "log"), index=str(tmp_path / "index")))
