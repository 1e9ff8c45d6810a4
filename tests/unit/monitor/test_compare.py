import json
import logging
from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.compare import run
from llmops_monitor.config import CompareConfig, Window
from llmops_shared.contracts import DatasetManifest, Endpoint, ModelPackage, Report
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.documents import fetch_part, follow, read_document, sha256, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from support.traffic import chat, exchange, good, package, paired, poor, questions, write_log, write_scene

ROWS = questions()[:120]


def compare(root: str, exchanges: list[Exchange], out: str = "report", **settings: object) -> Report:
    """Writes the scene of the exchanges and compares."""
    scene = write_scene(root, exchanges, ROWS)
    return run(CompareConfig.model_validate({"out": join(root, out), "endpoint": scene.endpoint, "dataset": scene.dataset, **settings}))


def figure(report: Report, name: str) -> float:
    return next(item.value for item in report.measurements if item.name == name)


def test_a_better_shadow_is_promoted_and_the_report_says_why(root: str) -> None:
    report = compare(root, paired(ROWS))

    assert report.verdict == "promote"
    assert report.reasons[0].startswith("rouge_l of shadow is 0.8") and "120 pairs of 120 prompts" in report.reasons[0]
    assert "limit 1.50): within the guardrail" in report.reasons[2]
    assert figure(report, "difference/rouge_l") == pytest.approx(figure(report, "shadow/rouge_l") - figure(report, "production/rouge_l"))
    assert figure(report, "production/error_rate") == 0 and figure(report, "ratio/latency_ms") < 1
    assert read_document(join(root, "report"), Report) == report
    assert {role: follow(report.subjects[role], join(root, "report"), ModelPackage)[1].name for role in ("production", "shadow")} == {
        "production": "base",
        "shadow": "tuned",
    }
    follow(report.subjects["endpoint"], join(root, "report"), Endpoint)
    follow(report.subjects["dataset"], join(root, "report"), DatasetManifest)
    rows = fetch_part(join(root, "report", "report.json"), report.parts["rows"]).read_text().splitlines()
    assert len(rows) == 120 and json.loads(rows[0])["shadow/exact_match"] in (0, 1)
    page = fetch_part(join(root, "report", "report.json"), report.parts["html"]).read_text()
    assert "Where shadow gained most" in page and 'class="verdict promote"' in page


def test_the_same_exchanges_in_other_files_give_the_same_report(tmp_path: Path) -> None:
    exchanges = paired(ROWS)
    first = compare(str(tmp_path / "one"), exchanges)
    scene = write_scene(str(tmp_path / "two"), [], ROWS)
    write_log(scene.exchanges, exchanges[40:], "a/b.jsonl")
    write_log(scene.exchanges, exchanges[:50], "z.jsonl")

    second = run(CompareConfig(out=str(tmp_path / "two" / "report"), endpoint=scene.endpoint, dataset=scene.dataset))

    assert second.to_json() == first.to_json()
    assert (tmp_path / "two" / "report" / "report.html").read_bytes() == (tmp_path / "one" / "report" / "report.html").read_bytes()


def test_a_worse_shadow_is_not_promoted_and_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS, production=good, shadow=poor), ROWS)
    words = ["compare", f"endpoint={scene.endpoint}", f"dataset={scene.dataset}", f"out={tmp_path / 'report'}"]

    codes = [main(words), main(words)]  # the second is kept, and is as much of a no

    assert codes == [3, 3]
    printed = Report.model_validate_json(capsys.readouterr().out.partition("}\n{")[0] + "}")
    assert printed.verdict == "keep" and "not above the margin of 0.020" in printed.reasons[0]


def test_a_better_shadow_that_fails_more_often_is_kept_out(tmp_path: Path) -> None:
    exchanges = paired(ROWS)
    for number in range(0, 60, 2):  # every second shadow answer of the first sixty pairs
        broken = {"error": "engine: out of memory", "finish_reason": "error", "response": ""}
        exchanges[2 * number + 1] = exchanges[2 * number + 1].model_copy(update=broken)

    report = compare(str(tmp_path), exchanges, min_pairs=40)

    assert report.verdict == "keep"
    assert figure(report, "shadow/error_rate") == 0.25
    assert "Errors: shadow 25.0%, production 0.0% of 120 pairs" in report.reasons[1] and "breaks the guardrail" in report.reasons[1]


def test_a_shadow_that_never_answers_is_kept_out(tmp_path: Path) -> None:
    failed = {"error": "engine: gone", "finish_reason": "error", "response": "", "first_token_ms": None}
    exchanges = [item.model_copy(update=failed) if item.shadow else item for item in paired(ROWS)]

    report = compare(str(tmp_path), exchanges)

    assert report.verdict == "keep"
    assert report.reasons[0].startswith("rouge_l is known for 0 pairs") and "Errors: shadow 100.0%" in report.reasons[1]


def test_a_better_but_slow_shadow_is_kept_out(tmp_path: Path) -> None:
    exchanges = [item.model_copy(update={"latency_ms": 4 * item.latency_ms}) if item.shadow else item for item in paired(ROWS)]

    report = compare(str(tmp_path), exchanges)

    assert report.verdict == "keep" and "(limit 1.50): breaks the guardrail" in report.reasons[2]


def test_few_pairs_are_not_enough_data(tmp_path: Path) -> None:
    one = compare(str(tmp_path / "one"), paired(ROWS[:1]))
    repeated = compare(str(tmp_path / "repeated"), paired([ROWS[0]] * 100))

    for report in (one, repeated):
        assert report.verdict == "not_enough_data"
        assert report.reasons[0] == "rouge_l is known for 1 pairs of different prompts; 50 are needed (min_pairs)."


def test_pairs_of_one_prompt_do_not_narrow_the_interval(tmp_path: Path) -> None:
    once = compare(str(tmp_path / "once"), paired(ROWS))
    often = compare(str(tmp_path / "often"), [
        item.model_copy(update={"request_id": f"{item.request_id}-{copy}"}) for item in paired(ROWS) for copy in range(5)
    ])  # fmt: skip

    widths = []
    for report in (once, often):
        difference = next(item for item in report.measurements if item.name == "difference/rouge_l")
        widths.append(difference.high - difference.low)
    assert difference.num_rows == 600
    assert widths[1] == pytest.approx(widths[0], rel=0.1)  # five times the pairs, taken for independent, would make it 0.45 times as wide


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    exchanges = paired(ROWS)
    stranger = paired([chat("Who wrote this?", "Nobody.", "other")] * 2)
    lonely = exchange(ROWS[0], 7000, good)
    scene = write_scene(str(tmp_path), [*exchanges, lonely], ROWS)
    write_log(scene.exchanges, [item.model_copy(update={"request_id": f"x{item.request_id}"}) for item in stranger], "b.jsonl")
    (tmp_path / "exchanges" / "c.jsonl").write_text("{\nnot json\n")

    report = run(CompareConfig(out=str(tmp_path / "report"), endpoint=scene.endpoint, dataset=scene.dataset))

    assert report.reasons[3:] == [
        "1 exchanges were left out: their request has an answer of one model only.",
        "2 pairs have no reference answer in test, validation; only latency, length and errors use them.",
        "2 broken lines of the log were left out; they are listed in dead_letter.jsonl.",
    ]
    letters = [json.loads(line) for line in (tmp_path / "report" / "dead_letter.jsonl").read_text().splitlines()]
    assert [(letter["file"], letter["line_number"]) for letter in letters] == [("c.jsonl", 1), ("c.jsonl", 2)]
    assert report.parts["dead_letter"].path == "dead_letter.jsonl"


def test_answers_of_an_earlier_model_are_not_judged(tmp_path: Path) -> None:
    old = [item.model_copy(update={"package_sha256": "a" * 64, "request_id": f"old-{item.request_id}"}) for item in paired(ROWS)]

    report = compare(str(tmp_path / "both"), [*old, *paired(ROWS)])

    assert figure(report, "shadow/rouge_l") and report.measurements[0].num_rows == 120
    with pytest.raises(
        LlmopsError, match="no exchange was answered by production with package .* the log has 120 of production with package aaaaaaaaaaaa"
    ):
        compare(str(tmp_path / "old"), old)


def test_a_dataset_that_lacks_the_row_ids_is_named(tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS), questions()[500:520])

    with pytest.raises(LlmopsError, match=r"dataset.json: knows none of the 120 row ids of the requests \(such as .*\) in test"):
        run(CompareConfig(out=str(tmp_path / "report"), endpoint=scene.endpoint, dataset=scene.dataset))


def test_rows_a_model_was_trained_on_are_no_references(tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS), ROWS, split="train")

    with pytest.raises(LlmopsError, match=r"has no split test or validation \(has train\)"):
        run(CompareConfig(out=str(tmp_path / "report"), endpoint=scene.endpoint, dataset=scene.dataset))


def test_without_references_another_metric_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exchanges = [item if item.shadow else item.model_copy(update={"finish_reason": "length"}) for item in paired(ROWS)]
    scene = write_scene(str(tmp_path), exchanges)
    words = ["compare", f"endpoint={scene.endpoint}", f"out={tmp_path / 'report'}"]

    codes = [main(words), main([*words, "metrics=[stop_share]"])]

    assert codes == [2, 0]
    assert "metrics rouge_l need reference answers: give dataset=, or metrics=[stop_share]" in capsys.readouterr().err


def test_an_endpoint_without_shadow_is_refused(tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS), ROWS)
    endpoint = read_document(scene.endpoint, Endpoint)
    write_document(scene.endpoint, endpoint.model_copy(update={"variants": endpoint.production()}))

    with pytest.raises(LlmopsError, match=r"has no shadow variant \(variants: production\)"):
        run(CompareConfig(out=str(tmp_path / "report"), endpoint=scene.endpoint, dataset=scene.dataset))


def test_a_package_that_changed_is_refused(tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS), ROWS)
    write_document(str(tmp_path / "package-tuned"), package(True).model_copy(update={"num_parameters": 2}))

    with pytest.raises(LlmopsError, match=r"package-tuned/package.json: changed since it was referred to"):
        run(CompareConfig(out=str(tmp_path / "report"), endpoint=scene.endpoint, dataset=scene.dataset))


def test_a_finished_report_is_kept_while_its_window_has_the_same_exchanges(tmp_path: Path) -> None:
    first = compare(str(tmp_path), paired(ROWS), select=Window(metadata={"window": "in_domain"}))
    page = tmp_path / "report" / "report.html"
    page.unlink()  # would be there again if the work were done again
    write_log(str(tmp_path / "exchanges"), [exchange(ROWS[0], 9000, good, metadata={"window": "later"})], "later.jsonl")

    again = compare(str(tmp_path), paired(ROWS), select=Window(metadata={"window": "in_domain"}))

    assert again == first and not page.exists()
    with pytest.raises(LlmopsError, match=r"was made from other settings or inputs \(inputs.exchanges\)"):
        compare(str(tmp_path), paired(ROWS[:119]), select=Window(metadata={"window": "in_domain"}))


def test_a_half_written_report_is_moved_aside_and_the_next_run_completes(root: str) -> None:
    report = compare(root, paired(ROWS))
    place = join(root, "report", "report.json")
    store_for(place).write(place, report.to_json()[:200])

    with pytest.raises(LlmopsError, match=r"half-written .* run the same command again"):
        compare(root, paired(ROWS))

    assert compare(root, paired(ROWS)) == report


def test_a_half_written_endpoint_is_named(tmp_path: Path) -> None:
    scene = write_scene(str(tmp_path), paired(ROWS), ROWS)
    place = Path(scene.endpoint) / "endpoint.json"
    place.write_bytes(place.read_bytes()[:100])

    with pytest.raises(LlmopsError, match=r"endpoint.json: is not a complete Endpoint"):
        run(CompareConfig(out=str(tmp_path / "report"), endpoint=scene.endpoint, dataset=scene.dataset))


def test_prompts_and_answers_are_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        report = compare(str(tmp_path), paired(ROWS))

    told = caplog.text + report.to_json().decode() + (tmp_path / "report" / "rows.jsonl").read_text()
    assert "verdict promote" in caplog.text
    assert not [row for row in ROWS for message in row.messages if len(message.content) > 12 and message.content in told]


def test_a_page_shows_answers_as_text_and_not_as_markup(tmp_path: Path) -> None:
    def hostile(reference: str, draw: object) -> str:
        return f"{reference} <script>alert(1)</script>"

    compare(str(tmp_path), paired(ROWS, shadow=hostile))

    page = (tmp_path / "report" / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_digest_of_the_variant_is_the_one_in_the_exchanges() -> None:
    assert paired(ROWS[:1])[1].package_sha256 == sha256(package(True).to_json())
