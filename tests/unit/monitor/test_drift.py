import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.config import DriftConfig
from llmops_monitor.drift import run
from llmops_shared.contracts import Endpoint, Report
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.documents import follow, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.rows import ChatRow
from llmops_shared.store import join, store_for
from support.traffic import Answer, code_questions, exchange, good, poor, questions, write_log, write_scene

IN_DOMAIN = {"metadata": {"window": "in_domain"}}
SHIFTED = {"metadata": {"window": "shifted"}}


def traffic(rows: tuple[ChatRow, ...], window: str, start: int = 0, answer: Answer = good) -> list[Exchange]:
    return [exchange(row, start + number, answer, metadata={"window": window}) for number, row in enumerate(rows)]


def drift(root: str, exchanges: list[Exchange], **settings: object) -> Report:
    """Writes the exchanges and compares `in_domain` with `shifted`."""
    write_log(join(root, "exchanges"), exchanges)
    given = {
        "out": join(root, "report"),
        "exchanges": join(root, "exchanges"),
        "evidently": False,
        "reference": IN_DOMAIN,
        "current": SHIFTED,
    }
    return run(DriftConfig.model_validate(given | settings))


def figures(report: Report) -> dict[str, float]:
    return {item.name: item.value for item in report.measurements}


def test_prompts_of_another_kind_are_drift(root: str) -> None:
    scene = write_scene(root, traffic(questions()[:80], "in_domain") + traffic(code_questions()[:60], "shifted", 500))
    settings = {"evidently": False, "reference": IN_DOMAIN, "current": SHIFTED}

    report = run(DriftConfig.model_validate({"out": join(root, "report"), "endpoint": scene.endpoint, **settings}))

    assert report.verdict == "drift"
    assert any(reason.startswith("code_sign_share: mean 0.0") and "corrected p = " in reason for reason in report.reasons)
    assert any(reason.startswith("A classifier on words tells the windows apart: AUC 1.000") for reason in report.reasons)
    measured = figures(report)
    assert measured["classifier_auc"] > 0.95 and measured["p_value/characters"] < 1e-6 and measured["shift/num_tokens"] > 2
    assert "shift/lines" not in measured and measured["ks/lines"] == 1  # all questions have one line, so there is no sd to count in
    assert follow(report.subjects["endpoint"], join(root, "report"), Endpoint)[1].name == "assistant"
    assert read_document(join(root, "report"), Report) == report
    page = store_for(root).read(join(root, "report", "report.html")).decode()
    assert 'class="verdict drift"' in page and "Words whose share of texts changed most" in page and "Why does this fail?" in page


def test_a_half_of_a_window_against_the_other_is_no_drift(tmp_path: Path) -> None:
    halves = {"reference": {**IN_DOMAIN, "half": "first"}, "current": {**IN_DOMAIN, "half": "second"}}

    report = drift(str(tmp_path), traffic(questions()[:300], "in_domain"), **halves)

    assert report.verdict == "no_drift"
    assert report.reasons[0].startswith("No descriptor moved at corrected p < 0.005; the nearest is ")
    assert report.reasons[1].startswith("A classifier on words does not tell the windows apart: AUC 0.")
    assert 0.35 < figures(report)["classifier_auc"] < 0.65


def test_answers_of_another_model_are_drift_though_the_prompts_are_the_same(tmp_path: Path) -> None:
    rows = questions()[:100]
    exchanges = traffic(rows, "in_domain", answer=good) + traffic(rows, "shifted", 500, answer=poor)

    answers = drift(str(tmp_path / "answers"), exchanges, text="response")
    prompts = drift(str(tmp_path / "prompts"), exchanges)

    assert (answers.verdict, prompts.verdict) == ("drift", "no_drift")


def test_drift_exits_with_3_also_when_the_report_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(str(tmp_path / "log"), traffic(questions()[:60], "in_domain") + traffic(code_questions()[:60], "shifted", 500))
    words = ["drift", f"exchanges={tmp_path / 'log'}", "evidently=false", "reference.metadata.window=in_domain", f"out={tmp_path / 'out'}"]

    codes = [main([*words, "current.metadata.window=shifted"]) for _ in range(2)]

    assert codes == [3, 3]
    assert "finished, nothing changed" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 49])
def test_few_prompts_are_not_enough_data(tmp_path: Path, number: int) -> None:
    report = drift(str(tmp_path), traffic(questions()[:200], "in_domain") + traffic(code_questions()[:number], "shifted", 500))

    assert report.verdict == "not_enough_data"
    assert report.reasons == [
        f"The windows hold 200 (reference) and {number} (current) different prompts; 50 are needed in each (min_rows)."
    ]
    assert report.measurements == []


def test_one_prompt_sent_many_times_is_not_enough_data(tmp_path: Path) -> None:
    report = drift(str(tmp_path), traffic(questions()[:200], "in_domain") + traffic(code_questions()[:1] * 200, "shifted", 500))

    assert report.verdict == "not_enough_data"
    assert report.reasons[1] == "199 of 200 requests of the current window repeat a prompt; each counts once."


@pytest.mark.parametrize("content", [lambda number: "", lambda number: "the same answer"], ids=["empty", "equal"])
def test_texts_that_are_all_equal_are_no_drift(tmp_path: Path, content: Callable[[int], str]) -> None:
    def constant(reference: str, draw: object) -> str:
        return content(0)

    rows = questions()[:120]
    exchanges = traffic(rows[:60], "in_domain", answer=constant) + traffic(rows[60:], "shifted", 500, answer=constant)

    report = drift(str(tmp_path), exchanges, text="response")

    assert report.verdict == "no_drift"
    assert figures(report)["classifier_auc"] == 0.5 and not [name for name in figures(report) if name.startswith("shift/")]


def test_broken_lines_are_listed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "exchanges").mkdir()
    (tmp_path / "exchanges" / "a.jsonl").write_text('{"request_id": "half\n')

    report = drift(str(tmp_path), traffic(questions()[:60], "in_domain") + traffic(questions()[60:120], "shifted", 500))

    assert report.reasons[-1] == "1 broken lines of the log were left out; they are listed in dead_letter.jsonl."
    letter = json.loads((tmp_path / "report" / "dead_letter.jsonl").read_text())
    assert letter["file"] == "a.jsonl" and letter["line_number"] == 1 and "half" not in letter["reason"]


def test_an_empty_window_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(str(tmp_path / "log"), traffic(questions()[:5], "in_domain"))
    log = f"exchanges={tmp_path / 'log'}"

    codes = [
        main(["drift", log, f"out={tmp_path / 'out'}", "current.metadata.window=shifted"]),
        main(["drift", f"exchanges={tmp_path / 'nowhere'}", f"out={tmp_path / 'out'}"]),
        main(["drift", log, f"endpoint={tmp_path}", f"out={tmp_path / 'out'}"]),
        main(["drift", log, f"out={tmp_path / 'out'}", "reference.since=2026-01-02T00:00:00Z", "reference.until=2026-01-01T00:00:00Z"]),
    ]

    assert codes == [2, 2, 2, 2]
    told = capsys.readouterr().err
    assert "is of metadata.window=shifted; it holds 5 exchanges" in told and "metadata.window: in_domain 5" in told
    assert "nowhere: holds no exchange log" in told
    assert "give either endpoint= (its capture is read) or exchanges=" in told
    assert "must be before until" in told
    assert not (tmp_path / "out").exists()


def test_windows_that_share_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match="share 60 of 60 and 60 requests"):
        drift(str(tmp_path), traffic(questions()[:60], "in_domain"), current=IN_DOMAIN)


def test_a_half_written_report_is_moved_aside_and_the_next_run_gives_the_same_bytes(tmp_path: Path) -> None:
    exchanges = traffic(questions()[:60], "in_domain") + traffic(code_questions()[:60], "shifted", 500)
    report = drift(str(tmp_path), exchanges)
    place, page = tmp_path / "report" / "report.json", tmp_path / "report" / "report.html"
    before = page.read_bytes()
    place.write_bytes(report.to_json()[:100])

    with pytest.raises(LlmopsError, match="half-written"):
        drift(str(tmp_path), exchanges)

    assert drift(str(tmp_path), exchanges).to_json() == report.to_json() and page.read_bytes() == before


def test_prompts_are_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = questions()[:60] + code_questions()[:60]

    with caplog.at_level(logging.DEBUG):
        report = drift(str(tmp_path), traffic(rows[:60], "in_domain") + traffic(rows[60:], "shifted", 500))

    told = caplog.text + report.to_json().decode()
    assert "verdict drift" in caplog.text
    assert not [row for row in rows for message in row.messages if len(message.content) > 15 and message.content in told]
