import json
import shlex
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.stub import Stubber

from llmops_monitor import eventbridge
from llmops_monitor.cli import main
from llmops_monitor.compare import run as compare
from llmops_monitor.config import CompareConfig
from llmops_monitor.github import dispatch, dispatch_request
from llmops_monitor.remediate import Remediation, run
from llmops_monitor.remediate_config import RemediateConfig
from llmops_monitor.remedies import advise, moved_signals, read_table
from llmops_shared.config import load_config
from llmops_shared.contracts import Report
from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.report import Measurement
from llmops_shared.contracts.review import ReviewAnswer
from llmops_shared.documents import read_document, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import side_by_side, single_label
from llmops_shared.review.location import QueueConfig
from llmops_shared.review.sqlite import SqliteQueue
from llmops_shared.rows import ChatRow
from support.golden import verbs
from support.loop import main_of
from support.traffic import good, paired, poor, questions, write_scene

ROWS = questions()[:120]


def figure(name: str, value: float, low: float | None = None, high: float | None = None, better: str = "neither") -> Measurement:
    return Measurement.model_validate(
        {"name": name, "value": value, "low": low, "high": high, "num_rows": 100, "better": better, "confidence": 0.95}
    )


def drift_report(folder: Path, *signals: str) -> str:
    """A drift report in which these signals moved, and `calm` did not."""
    figures = [item for name in signals for item in (figure(f"p_value/{name}", 1e-4), figure(f"shift/{name}", 0.8))]
    report = Report(
        report="drift", name="drift", subjects={}, measurements=[*figures, figure("p_value/calm", 0.4)], verdict="drift", reasons=[],
        parts={}, mlflow_run_id=None,
    )  # fmt: skip
    write_document(str(folder), report)
    return str(folder)


def queue_with_answers(path: Path) -> str:
    """Three reviewed items: one corrected, one preferred, one bad; one nobody answered."""
    queue = SqliteQueue(str(path))
    asked = [
        Message(role="user", content=f"How is step {number} of the yearly inventory done in the northern warehouse?") for number in range(4)
    ]
    items = [
        single_label(asked[:1], "production", "No idea.", "alarm"),
        side_by_side(
            asked[1:2], {"production": "Badly.", "shadow": "Count twice, then write to ann.smith@example.com about it."}, "uncertainty"
        ),
        single_label(asked[2:3], "production", "Wrong.", "random"),
        single_label(asked[3:4], "production", "Unread.", "random"),
    ]
    queue.add(items)
    said = [("bad", "Count, compare, sign."), ("shadow", None), ("bad", None)]
    for item, (label, correction) in zip(items, said, strict=False):
        queue.record(ReviewAnswer(item_id=item.item_id, reviewer="ada", label=label, correction=correction, time=datetime.now(UTC)))
    return str(path)


def test_the_table_says_what_to_do_about_each_signal(tmp_path: Path) -> None:
    report = read_document(drift_report(tmp_path, "chunk_size", "injection", "refusal_share", "num_tokens"), Report)

    advice = advise(moved_signals(report, 0.01), read_table(None))

    assert [(item.signal, item.remedy) for item in advice] == [
        ("chunk_size", "reindex"),
        ("injection", "guard"),
        ("refusal_share", "prompt"),
        ("num_tokens", "retrain"),
    ]
    assert advice[0].moved == "corrected p = 0.0001, +0.80 sd"


def test_a_comparison_moves_only_to_the_worse() -> None:
    figures = [
        figure("difference/rouge_l", -0.1, -0.2, -0.05, "higher"),
        figure("difference/stop_share", 0.1, 0.05, 0.2, "higher"),
        figure("ratio/latency_ms", 1.5, 1.2, 1.8, "lower"),
        figure("difference/response_tokens", 9, 8, 10),
        figure("difference/exact_match", -0.1, -0.2, 0.1, "higher"),
    ]
    report = Report(report="ab", name="ab", subjects={}, measurements=figures, verdict="rollback", reasons=[], parts={}, mlflow_run_id=None)

    assert [(item.signal, item.remedy) for item in advise(moved_signals(report, 0.01), read_table(None))] == [
        ("rouge_l", "retrain"),
        ("latency_ms", "capacity"),
    ]


def test_reviewed_and_low_scoring_exchanges_become_the_next_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = ROWS[:60]  # their questions are in the dataset that references come from, so none may be trained on
    scene = write_scene(str(tmp_path), paired(seen, production=poor, shadow=good), seen)
    report = str(tmp_path / "shadow")
    compare(CompareConfig(out=report, endpoint=scene.endpoint, dataset=scene.dataset))
    write_scene(str(tmp_path / "other"), [], ROWS[60:])  # an evaluation about other questions
    review = queue_with_answers(tmp_path / "review.db")
    words = [
        "remediate",
        report,
        f"review.uri={review}",
        f"out={tmp_path / 'remedy'}",
        "retrain=always",
        "max_score=0.6",
        "model=build/base",
    ]

    codes = [main([*words, f"evaluation={tmp_path / 'other' / 'chat'}"])]

    remedy = Remediation.model_validate_json(capsys.readouterr().out)
    rows = [ChatRow.model_validate_json(line) for line in (tmp_path / "remedy" / "rows.jsonl").read_text().splitlines()]
    assert codes == [0] and remedy.num_rows == len(rows) > 20
    assert [(row.metadata["label"], row.messages[-1].content) for row in rows[:2]] == [
        ("corrected", "Count, compare, sign."),
        ("preferred", "Count twice, then write to [email] about it."),
    ]
    assert rows[1].metadata["personal_data"] == "masked"
    assert {row.metadata["label"] for row in rows[2:]} == {"low_scoring"}
    for count in remedy.counts:
        assert count.rows_in == count.rows_out + sum(count.dropped.values())
    assert remedy.started is None and remedy.parts.keys() == {"rows", "preprocess", "train"}


def test_nothing_of_the_evaluation_is_trained_on(tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS, production=poor, shadow=good), ROWS)
    report = str(tmp_path / "shadow")
    compare(CompareConfig(out=report, endpoint=scene.endpoint, dataset=scene.dataset))
    review = queue_with_answers(tmp_path / "review.db")

    remedy = run(
        RemediateConfig(report=report, out=str(tmp_path / "remedy"), retrain="always", review=QueueConfig(uri=review), max_score=0.6)
    )

    counts = {count.stage: count for count in remedy.counts}
    assert counts["decontamination"].dropped["evaluation_text"] > 20
    assert remedy.num_rows == 2  # of all rows only those of people are about something else


def test_the_written_settings_and_commands_are_what_the_next_stages_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = drift_report(tmp_path / "drift", "num_tokens")
    review = queue_with_answers(tmp_path / "review.db")
    evaluation = write_scene(str(tmp_path), [], ROWS).dataset

    remedy = run(RemediateConfig(report=report, review=QueueConfig(uri=review), evaluation=evaluation, model="build/base", out="remedy"))

    for command in remedy.commands:
        program, verb, *words = shlex.split(command)
        config = next(known.config for known in verbs(program.removeprefix("llmops-")) if known.name == verb)
        path = words[words.index("--config") + 1] if "--config" in words else None
        load_config(config, path, [word for word in words if "=" in word])
    settings = yaml.safe_load((tmp_path / "remedy" / "preprocess.yaml").read_text())
    assert settings["source"] == {"kind": "jsonl", "uri": "remedy/rows.jsonl", "licence": "unknown"}
    # and preprocess reads every row
    splits = ["splits.train=1", "splits.validation=0", "splits.test=0", "language.code=null"]
    out = ["--config", "remedy/preprocess.yaml", *splits, "out=dataset", "quality.min_words=1"]
    assert main_of("llmops-preprocess")(["run", *out]) == 0
    dataset = json.loads((tmp_path / "dataset" / "dataset.json").read_text())
    assert dataset["splits"]["train"]["num_rows"] == remedy.num_rows == 2
    # so does a recipe of the pipeline, which reads whatever files its `Source` is
    recipe = ["name=remedy", "view=chat", "source.kind=files", "source.uri=remedy/rows.jsonl", "quality.min_words=1", *splits]
    assert main_of("llmops-preprocess")(["run", *recipe, "out=again"]) == 0
    again = json.loads((tmp_path / "again" / "dataset.json").read_text())["splits"]["train"]
    assert again["shards"] == dataset["splits"]["train"]["shards"]


def test_a_dry_run_prints_the_exact_request_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = drift_report(tmp_path / "drift", "num_tokens")
    words = ["remediate", report, "--dry-run", f"out={tmp_path / 'remedy'}"]

    codes = [main([*words, "start=eventbridge", "environment=dev"]), main([*words, "start=github", "repository=acme/llm"])]

    decoder, text, plans = json.JSONDecoder(), capsys.readouterr().out, []
    while text.strip():
        plan, end = decoder.raw_decode(text.lstrip())
        plans.append(plan["plan"])
        text = text.lstrip()[end:]
    assert codes == [0, 0] and not (tmp_path / "remedy").exists()
    assert plans[0]["advice"][0]["remedy"] == "retrain"
    entry = plans[0]["request"]["Entries"][0]
    assert (entry["Source"], entry["DetailType"], entry["EventBusName"]) == ("llmops.monitor", "Drift Report", "default")
    assert json.loads(entry["Detail"])["environment"] == "dev" and json.loads(entry["Detail"])["verdict"] == "drift"
    assert plans[1]["request"]["url"] == "https://api.github.com/repos/acme/llm/dispatches"
    assert plans[1]["request"]["body"]["event_type"] == "retrain" and "Authorization" not in plans[1]["request"]["headers"]


def test_eventbridge_gets_the_event_of_the_platforms_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("events", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    request = eventbridge.put_events_request("prod", "drift", {"report": "s3://b/report"}, "default")
    monkeypatch.setattr(boto3, "client", lambda service: client)
    detail = '{"environment": "prod", "verdict": "drift", "report": "s3://b/report"}'
    expected = {"Entries": [{"Source": "llmops.monitor", "DetailType": "Drift Report", "Detail": detail, "EventBusName": "default"}]}
    refused = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "try again"}]}
    with Stubber(client) as stub:
        stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "e-1"}]}, expected)
        stub.add_response("put_events", refused, expected)
        stub.add_client_error("put_events", "AccessDeniedException", "not yours")

        assert eventbridge.put_events(request) == "e-1"
        with pytest.raises(LlmopsError, match="refused the event: InternalFailure: try again"):
            eventbridge.put_events(request)
        with pytest.raises(LlmopsError, match="does not take the event: .*AccessDenied"):
            eventbridge.put_events(request)


def test_github_gets_a_repository_dispatch() -> None:
    seen = []

    class GitHub(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, self.headers["Authorization"], self.headers["X-GitHub-Api-Version"], self.headers["Accept"], body))
            self.send_response(204 if self.headers["Authorization"] == "Bearer good" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), GitHub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        request = dispatch_request("acme/llm", {"report": "s3://b/report"}, f"http://127.0.0.1:{server.server_port}")
        dispatch(request, "good")
        with pytest.raises(LlmopsError, match=r"GitHub answered 404 .*; the token needs write access"):
            dispatch(request, "bad")
    finally:
        server.shutdown()
        server.server_close()

    body = {"event_type": "retrain", "client_payload": {"report": "s3://b/report"}}
    assert seen[0] == ("/repos/acme/llm/dispatches", "Bearer good", "2022-11-28", "application/vnd.github+json", body)


def test_what_cannot_be_done_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drift = drift_report(tmp_path / "drift", "num_tokens")
    calm = Report(report="ab", name="ab", subjects={}, measurements=[], verdict="keep", reasons=[], parts={}, mlflow_run_id=None)
    write_document(str(tmp_path / "calm"), calm)
    (tmp_path / "table.yaml").write_text("- signals: ['x*']\n  remedy: pray\n  why: none\n")
    (tmp_path / "short.yaml").write_text("- signals: ['x*']\n  remedy: guard\n  why: none\n")

    def told(*words: str) -> str:
        assert main(["remediate", *words, f"out={tmp_path / 'out'}"]) == 2
        return capsys.readouterr().err

    assert "names no dataset; give evaluation=" in told(drift)
    assert "no row is left to train on" in told(drift, f"evaluation={write_scene(str(tmp_path), [], ROWS).dataset}", "alpha=0.02")
    assert "table.yaml: 0.remedy: Input should be 'guard'" in told(drift, f"table={tmp_path / 'table.yaml'}")
    assert "no line of the table fits it" in told(drift, f"table={tmp_path / 'short.yaml'}")
    assert "needs environment=" in told(drift, "start=eventbridge") and "needs repository=" in told(drift, "start=github")
    assert "GITHUB_TOKEN" in told(drift, "start=github", "repository=a/b")
    assert "starts the pipeline for the verdicts drift, rollback, alarm, and" in told(
        str(tmp_path / "calm"), "start=eventbridge", "environment=dev", "alpha=0.03"
    )


def test_a_report_in_which_nothing_moved_asks_for_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_document(
        str(tmp_path / "calm"),
        Report(
            report="drift", name="drift", subjects={}, measurements=[], verdict="not_enough_data", reasons=[], parts={}, mlflow_run_id=None
        ),
    )

    assert main(["remediate", str(tmp_path / "calm"), f"out={tmp_path / 'out'}"]) == 0
    remedy = Remediation.model_validate_json(capsys.readouterr().out)
    assert (remedy.advice, remedy.parts, remedy.commands) == ([], {}, [])
