import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmops_monitor.cli import main
from llmops_monitor.compare import run as compare
from llmops_monitor.config import CompareConfig
from llmops_monitor.labels import calibrate
from llmops_shared.contracts import Report
from llmops_shared.contracts.exchange import Exchange, Message
from llmops_shared.contracts.review import ReviewAnswer, ReviewItem
from llmops_shared.review.items import shown_order, side_by_side, single_label
from llmops_shared.review.queue import Reviewed
from llmops_shared.review.sqlite import SqliteQueue
from llmops_shared.rows import ChatRow
from support.traffic import good, paired, poor, questions, write_scene

ROWS = questions()[:120]


def scene(root: Path, exchanges: list[Exchange]) -> tuple[str, str]:
    made = write_scene(str(root), exchanges, ROWS)
    compare(CompareConfig(out=str(root / "report"), endpoint=made.endpoint, dataset=made.dataset))
    return made.endpoint, made.dataset


def test_close_calls_alarms_and_a_random_share_are_queued_once(tmp_path: Path) -> None:
    exchanges = [
        item.model_copy(update={"metadata": {**item.metadata, "window": "alarmed"}}) if 50 <= number < 80 else item
        for number, item in enumerate(paired(ROWS, production=poor, shadow=good))
    ]
    endpoint, dataset = scene(tmp_path, exchanges)
    queue = tmp_path / "review.db"
    words = ["sample", f"queue.uri={queue}", f"endpoint={endpoint}", f"report={tmp_path / 'report'}", f"dataset={dataset}"]
    words += ["num_uncertain=12", "num_alarm=8", "num_random=10", "alarm.metadata.window=alarmed", "max_score=-1", "rules=false"]

    assert main([*words, "--dry-run"]) == 0 and not queue.exists()
    codes = [main(words), main(words)]

    items = SqliteQueue(str(queue)).pending()
    by_reason = {why: [item for item in items if item.sampled == why] for why in ("uncertainty", "alarm", "random")}
    assert codes == [0, 0] and {why: len(found) for why, found in by_reason.items()} == {"uncertainty": 12, "alarm": 8, "random": 10}
    assert {item.metadata["window"] for item in by_reason["alarm"]} == {"alarmed"}
    assert all(item.reference is not None and item.kind == "side_by_side" for item in items)
    rows = [json.loads(line) for line in (tmp_path / "report" / "rows.jsonl").read_text().splitlines()]
    gaps = {row["request_id"]: abs(row["shadow/rouge_l"] - row["production/rouge_l"]) for row in rows}
    chosen = {item.metadata["request_id"] for item in items}
    widest = max(gaps[item.metadata["request_id"]] for item in by_reason["uncertainty"])
    assert all(gap >= widest for request_id, gap in gaps.items() if request_id not in chosen)


def test_what_a_rule_flags_is_an_alarm(tmp_path: Path) -> None:
    exchanges = paired(ROWS[:60], production=good, shadow=good)
    refused = {20: "I'm sorry, but I cannot help with that request.", 30: "You are a stupid, worthless idiot."}
    told = [item.model_copy(update={"response": refused[number]}) if number in refused else item for number, item in enumerate(exchanges)]
    endpoint = write_scene(str(tmp_path), told, ROWS).endpoint

    assert main(["sample", f"queue.uri={tmp_path / 'review.db'}", f"endpoint={endpoint}", "num_random=0"]) == 0
    alarms = [item for item in SqliteQueue(str(tmp_path / "review.db")).pending() if item.sampled == "alarm"]
    assert {told[20].request_id, told[30].request_id} <= {item.metadata["request_id"] for item in alarms}


def test_what_people_see_has_no_personal_data(tmp_path: Path) -> None:
    told = [
        item.model_copy(update={"response": f"{item.response} Write to ann.smith@example.com."})
        for item in paired(ROWS[:60], production=poor, shadow=good)
    ]
    endpoint, _ = scene(tmp_path, told)

    assert main(["sample", f"queue.uri={tmp_path / 'review.db'}", f"endpoint={endpoint}", "num_random=30", "rules=false"]) == 0
    items = SqliteQueue(str(tmp_path / "review.db")).pending()
    assert len(items) == 30 and all("[email]" in item.candidates[0].response for item in items)
    assert b"ann.smith" not in b"".join(path.read_bytes() for path in tmp_path.glob("review.db*"))


@pytest.mark.slow
def test_what_cannot_be_sampled_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint, _ = scene(tmp_path, paired(ROWS[:60]))
    failed = {"error": "gone", "finish_reason": "error", "response": ""}
    nothing = write_scene(str(tmp_path / "failed"), [item.model_copy(update=failed) for item in paired(ROWS[:5])], ROWS)
    (tmp_path / "queue.db").write_text("this is text and no database " * 9)

    def told(*words: str) -> str:
        assert main(["sample", *words]) == 2
        return capsys.readouterr().err

    assert "have no politeness; correct metric=" in told(
        f"queue.uri={tmp_path / 'q.db'}", f"endpoint={endpoint}", f"report={tmp_path / 'report'}", "metric=politeness"
    )
    assert "holds no answer that went to a client" in told(f"queue.uri={tmp_path / 'q.db'}", f"endpoint={nothing.endpoint}")
    assert "cannot be used as a review queue" in told(f"queue.uri={tmp_path / 'queue.db'}", f"endpoint={endpoint}")
    assert "needs workteam_arn and role_arn" in told("queue.uri=s3://bucket/review", f"endpoint={endpoint}")


def answered(judge: str, *labels: str, number: int = 0) -> Reviewed:
    item = side_by_side(
        [Message(role="user", content=f"Question {number}?")], {"production": "One.", "shadow": "Two."}, "random", judge_label=judge
    )
    return Reviewed(item, [said(item, f"person-{place}", label) for place, label in enumerate(labels)])


def said(item: ReviewItem, reviewer: str, label: str, correction: str | None = None) -> ReviewAnswer:
    first = shown_order(item, reviewer)[0].name
    return ReviewAnswer(
        item_id=item.item_id, reviewer=reviewer, label=label, time=datetime.now(UTC), first_shown=first, correction=correction
    )


def test_a_judge_is_measured_against_people() -> None:
    reviewed = [
        *(answered("shadow", "shadow", "shadow", number=number) for number in range(60)),
        *(answered("production", "production", "production", number=number) for number in range(60, 90)),
        *(answered("production", "shadow", "shadow", number=number) for number in range(90, 100)),
        answered("shadow", "shadow", "production", number=100),  # people disagree, so it is no measure of the judge
    ]

    found = calibrate(reviewed)

    assert (found.num_items, found.num_judged) == (101, 100)
    assert found.judge_agreement is not None and found.judge_agreement.value == 0.9 and found.judge_agreement.low < 0.9
    assert found.judge_kappa == pytest.approx(0.783, abs=1e-3)  # (0.9 - 0.54) / (1 - 0.54)
    assert found.alpha is not None and 0.95 < found.alpha < 1
    assert found.first_shown is not None and 0.4 < found.first_shown.value < 0.6


def test_labels_become_rows_that_preprocess_reads_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue = SqliteQueue(str(tmp_path / "review.db"))
    asked = [Message(role="user", content="How is a warehouse counted at the end of the year?")]
    liked = side_by_side(asked, {"production": "Badly.", "shadow": "Shelf by shelf, twice."}, "random", judge_label="shadow")
    mended = single_label(asked, "production", "No idea.", "alarm")
    useless = single_label(asked, "production", "Wrong.", "random")
    queue.add([liked, mended, useless])
    words = ["labels", f"queue.uri={queue.path}", "licence=CC0-1.0"]
    assert main([*words, f"out={tmp_path / 'none'}"]) == 2
    for item, label, correction in ((liked, "shadow", None), (mended, "bad", "With a list."), (useless, "bad", None)):
        queue.record(said(item, "ada", label, correction))
        queue.record(said(item, "bob", label, correction))

    code = main([*words, f"out={tmp_path / 'labels'}"])

    report = Report.model_validate_json(capsys.readouterr().out)
    rows = [ChatRow.model_validate_json(line) for line in (tmp_path / "labels" / "rows.jsonl").read_text().splitlines()]
    assert code == 0 and report.report == "review"
    assert [(row.messages[-1].content, row.metadata["label"], row.licence) for row in rows] == [
        ("Shelf by shelf, twice.", "preferred", "CC0-1.0"),
        ("With a list.", "corrected", "CC0-1.0"),
    ]
    assert report.reasons[0] == "Agreement among people: Krippendorff's alpha 1.00, reliable."
    assert "The judge says what people say in 100% of 1 items" in report.reasons[1]
    assert report.reasons[-1].startswith("2 of 3 items gave a row")
