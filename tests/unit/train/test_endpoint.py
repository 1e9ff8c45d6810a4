"""Evaluating what answers over HTTP: the same figures as its answers have, resumed without asking twice, busy servers waited for."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from llmops_shared.contracts import Report
from llmops_shared.documents import read_document
from llmops_shared.errors import LlmopsError
from llmops_train.cli import main
from llmops_train.evaluation.answering import Batch, answer_questions
from llmops_train.evaluation.config import EvaluateConfig
from llmops_train.evaluation.journal import Journal
from llmops_train.evaluation.questions import Question
from llmops_train.metrics.scores import make_scores
from unit.train.served import chat_reply, serve


def right_answer(prompt: str) -> str:
    """What the tiny dataset wants."""
    return f"{prompt.split()[-1].strip('?')}(value, count=0)" if "signature" in prompt else "It raises ValueError."


@pytest.mark.parametrize("route", ["openai", "tgi"])
def test_an_endpoint_is_judged_by_its_answers(tmp_path: Path, chat: str, route: str) -> None:
    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/chat/completions":
            return 200, chat_reply(right_answer(body["messages"][-1]["content"]))
        assert path == "/generate"
        return 200, {"generated_text": right_answer(body["inputs"]), "details": {"generated_tokens": 5}}

    with serve(answer) as url:
        words = [f"endpoint.url={url}", f"endpoint.route={route}", f"dataset={chat}", f"out={tmp_path}/out", "limit=18"]
        assert main(["evaluate", *words]) == 0

    report = read_document(f"{tmp_path}/out", Report)
    figures = {item.name: item.value for item in report.measurements}
    assert set(report.subjects) == {"endpoint", "dataset"} and report.subjects["endpoint"].uri == url
    assert figures["answer_exact_match"] == pytest.approx(12 / 18)  # signatures and raises, of three kinds
    assert figures["tokens_per_second"] > 0
    assert "It raises ValueError." in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_without_asking_twice(tmp_path: Path, chat: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    broken = threading.Event()
    broken.set()

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if broken.is_set() and len(asked) >= 10:
            return 500, {"error": "out of memory"}
        asked.append(body["messages"][-1]["content"])
        return 200, chat_reply("It raises ValueError.")

    with serve(answer) as url:
        words = [
            "evaluate",
            f"endpoint.url={url}",
            f"dataset={chat}",
            f"out={tmp_path}/out",
            "limit=18",
            "batch_rows=5",
            "endpoint.concurrency=1",
        ]
        assert main(words) == 2
        assert "refuses with 500" in capsys.readouterr().err and len(list((tmp_path / "out").glob("progress-*"))) == 2
        broken.clear()
        assert main(words) == 0

    assert "kept 5 of 18 rows" in capsys.readouterr().err
    assert len(asked) == len(set(asked)) == 18
    assert list((tmp_path / "out").glob("progress-*")) == []


@pytest.mark.slow
def test_a_busy_server_is_asked_again_and_one_that_is_not_there_is_named(
    tmp_path: Path, chat: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        calls.append(path)
        return (503, {"error": "overloaded"}) if len(calls) == 1 else (200, chat_reply("x"))

    with serve(answer) as url:
        assert main(["evaluate", f"endpoint.url={url}", f"dataset={chat}", f"out={tmp_path}/a", "limit=3"]) == 0
    assert len(calls) == 4
    assert main(["evaluate", f"endpoint.url={url}", f"dataset={chat}", f"out={tmp_path}/b", "endpoint.num_retries=0"]) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.slow
def test_answers_are_scored_while_the_next_are_generated(tmp_path: Path) -> None:
    """Generating and scoring take 0.05 s a batch each: one after the other eight batches took 0.8 s."""
    questions = [Question(str(number), "k", f"q{number}", "r", (), ()) for number in range(8)]

    def answer(batch: Any) -> Batch:
        time.sleep(0.05)
        return Batch(["a"] * len(batch), 1, 0.05)

    def score(batch: Any, texts: Any) -> Any:
        time.sleep(0.05)
        return {"m": make_scores("m", [one.row_id for one in batch], [1.0] * len(batch), "")}

    began = time.perf_counter()
    answered = answer_questions(questions, answer, score, 1, Journal(str(tmp_path), {}))

    assert time.perf_counter() - began < 0.7
    assert list(answered.scores["m"].row_ids) == [str(number) for number in range(8)]


@pytest.mark.slow
def test_answers_of_an_earlier_report_are_reused(tmp_path: Path, chat: str) -> None:
    with serve(lambda path, body: (200, chat_reply("It raises ValueError."))) as url:
        shared = ["evaluate", f"endpoint.url={url}", f"dataset={chat}", "limit=6", "endpoint.num_retries=0"]
        assert main([*shared, f"out={tmp_path}/first"]) == 0
    # the server is gone now
    assert main([*shared, f"out={tmp_path}/second", f"reuse={tmp_path}/first", "measures=[rouge_l, bleu]"]) == 0

    first, second = (read_document(f"{tmp_path}/{name}", Report) for name in ("first", "second"))
    assert {item.name: item.value for item in first.measurements}["rouge_l"] == second.measurements[0].value


@pytest.mark.slow
def test_extra_measures_of_a_model(tmp_path: Path, fluent: str, chat: str) -> None:
    from llmops_train.evaluate import evaluate

    names = ["perplexity", "word_perplexity", "bits_per_byte", "rouge_2", "bleu", "chrf", "squad_f1"]
    settings = {"run": fluent, "dataset": chat, "out": str(tmp_path / "a"), "limit": 12, "max_new_tokens": 12, "measures": names}

    report = evaluate(EvaluateConfig.model_validate(settings))

    rows = [json.loads(line) for line in (tmp_path / "a" / "rows.jsonl").read_text().splitlines()]
    nats, size = sum(row["nll"] for row in rows), sum(len(row["reference"].encode()) for row in rows)
    figures = {item.name: item for item in report.measurements}
    assert list(figures) == names
    assert figures["bits_per_byte"].value == pytest.approx(nats / size / 0.6931471805599453)
    assert figures["word_perplexity"].value > figures["perplexity"].value
    assert figures["bleu"].details["signature"].startswith("sacrebleu|nrefs:1|case:mixed")
    assert figures["rouge_2"].details["contamination"] == "0 of 30 rows (0.0%)"


@pytest.mark.slow
def test_another_model_is_not_given_the_answers_of_the_first(tmp_path: Path, chat: str) -> None:
    with serve(lambda path, body: (200, chat_reply("x"))) as url:
        assert main(["evaluate", f"endpoint.url={url}", f"dataset={chat}", "limit=3", f"out={tmp_path}/a"]) == 0
        other = {"endpoint": {"url": url, "model": "other"}, "dataset": chat, "limit": 3, "out": f"{tmp_path}/b", "reuse": f"{tmp_path}/a"}
        from llmops_train.evaluate import evaluate

        with pytest.raises(LlmopsError, match="judged something else"):
            evaluate(EvaluateConfig.model_validate(other))


@pytest.mark.slow
def test_a_killed_evaluation_of_a_model_goes_on_where_it_was(
    tmp_path: Path, fluent: str, chat: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import subprocess
    import sys

    words = ["evaluate", f"run={fluent}", f"dataset={chat}", "limit=30", "batch_rows=1", "num_threads=1"]
    command = [sys.executable, "-m", "llmops_train.cli", *words, f"out={tmp_path}/killed"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        while job.poll() is None and len(list((tmp_path / "killed").glob("progress-*-answers-*"))) < 3:
            time.sleep(0.002)
        job.kill()
    finished = len(list((tmp_path / "killed").glob("progress-*-answers-*")))
    assert finished >= 3 and not (tmp_path / "killed" / "report.json").exists()

    assert main([*words, f"out={tmp_path}/killed"]) == 0
    assert f"kept {finished} of 30 rows" in capsys.readouterr().err
    assert main([*words, f"out={tmp_path}/whole"]) == 0

    killed, whole = (read_document(f"{tmp_path}/{name}", Report) for name in ("killed", "whole"))
    assert [item for item in killed.measurements if item.unit == ""] == [item for item in whole.measurements if item.unit == ""]
