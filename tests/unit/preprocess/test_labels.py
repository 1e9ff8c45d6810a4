"""Labels come back into rows with their confidence; what active learning chooses is put before people; its gain is shown."""

import json
from datetime import UTC, datetime

import pytest

from llmops_preprocess.cli import main
from llmops_shared.contracts.review import ReviewAnswer
from llmops_shared.review.sqlite import SqliteQueue

TOPICS = {
    "food": "soup bread cheese apples sugar salt pepper butter cream rice".split(),
    "sport": "ball goal team score coach match referee league stadium training".split(),
    "music": "guitar piano concert violin melody rhythm singer chorus album drums".split(),
}


@pytest.fixture
def rows(tmp_path):
    found = [
        {"id": f"{topic}{number}", "text": f"We had {words[number % 10]} and {words[(number * 3 + 1) % 10]} there, number {number}."}
        for number in range(40)
        for topic, words in TOPICS.items()
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    labelled = [{**row, "metadata": {"label": row["id"].rstrip("0123456789")}} for row in found]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_chosen_rows_are_asked_and_their_answers_come_back_and_decide_the_next_choice(rows):
    queue, labels = f"queue.uri={rows}/queue.sqlite", "labels=[food, sport, music]"

    assert main(["choose", f"rows={rows}/rows.jsonl", "strategy=random", "count=12", labels, queue]) == 0
    waiting = SqliteQueue(f"{rows}/queue.sqlite", 2)
    items = waiting.pending()
    assert len(items) == 12
    for item in items:
        topic = item.metadata["row_id"].rstrip("0123456789")
        for reviewer, said in (("ann", topic), ("bob", topic), ("cem", "food")):
            waiting.record(ReviewAnswer(item_id=item.item_id, reviewer=reviewer, label=said, time=datetime.now(UTC)))

    assert main(["labels", f"rows={rows}/rows.jsonl", queue, f"out={rows}/labelled.jsonl", "min_confidence=0.6"]) == 0
    labelled = lines(rows / "labelled.jsonl")
    assert {row["id"] for row in labelled} == {item.metadata["row_id"] for item in items}
    for row in labelled:
        topic = row["id"].rstrip("0123456789")
        expected = {"label": topic, "label_confidence": "1" if topic == "food" else "0.666667", "label_by_people": "yes"}
        assert row["metadata"] == expected

    words = ["choose", f"rows={rows}/rows.jsonl", f"labelled={rows}/labelled.jsonl", "count=6", labels, queue, f"out={rows}/next.jsonl"]
    assert main(words) == 0
    chosen = {row["id"] for row in lines(rows / "next.jsonl")}
    assert len(chosen) == 6
    assert not chosen & {row["id"] for row in labelled}
    assert {item.metadata["row_id"] for item in waiting.pending()} == chosen


def test_consolidated_labels_of_ground_truth_come_back(rows):
    line = {
        "source": "x", "row-id": "food1", "label": 0,
        "label-metadata": {"class-name": "food", "confidence": 0.93, "human-annotated": "yes", "type": "groundtruth/text-classification"},
    }  # fmt: skip
    (rows / "output.manifest").write_text(json.dumps(line) + "\n")

    assert main(["labels", f"rows={rows}/rows.jsonl", f"manifest={rows}/output.manifest", f"out={rows}/labelled.jsonl"]) == 0

    (row,) = lines(rows / "labelled.jsonl")
    assert (row["id"], row["metadata"]["label"], row["metadata"]["label_confidence"]) == ("food1", "food", "0.93")


def test_a_simulation_prints_the_curve_of_every_strategy(rows, capsys):
    words = ["start=6", "step=6", "rounds=3", "seeds=2", "strategies=[random, margin]", "accuracy=0.8"]
    assert main(["simulate", f"labelled={rows}/all.jsonl", *words]) == 0

    strategies = json.loads(capsys.readouterr().out)["strategies"]
    assert [[labels for labels, _ in strategies[name]["curve"]] for name in ("random", "margin")] == [[6, 12, 18, 24]] * 2
    assert strategies["random"]["curve"][0] == strategies["margin"]["curve"][0]
    assert strategies["margin"]["labels_needed"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["labels", "rows={rows}/rows.jsonl", "out=x"], "labels come from manifest or from queue"),
        (["choose", "rows={rows}/rows.jsonl", "labels=[a, b]", "out=x"], "strategy margin learns from known labels"),
        (["choose", "rows={rows}/rows.jsonl", "labels=[a, b]", "strategy=random"], "go to queue or to out"),
        (["choose", "rows={rows}/rows.jsonl", "labelled={rows}/rows.jsonl", "labels=[a, b]", "out=x"], "has no label in metadata.label"),
        (["choose", "rows={rows}/all.jsonl", "labelled={rows}/all.jsonl", "labels=[a, b]", "out=x"], "have a label already"),
        (["simulate", "labelled={rows}/all.jsonl"], "half are held out, so 500 are needed"),
    ],
)
def test_what_cannot_be_done_is_one_line(rows, capsys, words, message):
    assert main([word.format(rows=rows) for word in words]) == 2

    assert message in capsys.readouterr().err
