from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.review import ReviewAnswer, ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review.items import shown_order, side_by_side, single_label
from llmops_shared.review.sqlite import SqliteQueue

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def pair(number: int) -> ReviewItem:
    messages = [Message(role="user", content=f"What does function {number} do?")]
    return side_by_side(messages, {"production": f"It runs {number}.", "shadow": f"It returns {number}."}, "random")


def answer(item: ReviewItem, reviewer: str, label: str, minute: int = 0) -> ReviewAnswer:
    return ReviewAnswer(item_id=item.item_id, reviewer=reviewer, label=label, time=NOON + timedelta(minutes=minute))


@pytest.fixture
def queue(tmp_path: Path) -> SqliteQueue:
    return SqliteQueue(str(tmp_path / "a folder" / "review.db"))


def test_an_item_waits_for_each_person_until_enough_have_answered(queue: SqliteQueue) -> None:
    items = [pair(number) for number in range(3)]

    assert queue.add(items) == 3
    assert queue.add([items[1], pair(3)]) == 1  # known items are not asked twice
    queue.record(answer(items[0], "ada", "shadow"))
    queue.record(answer(items[1], "ada", "tie", 1))
    queue.record(answer(items[1], "bob", "shadow", 2))

    assert queue.count() == 4
    assert queue.pending("ada") == [items[2], pair(3)]
    assert queue.pending("bob") == [items[0], items[2], pair(3)]
    assert queue.pending("eve", limit=2) == [items[0], items[2]]  # two answers are enough for the second item
    assert queue.pending() == [items[2], pair(3)]
    assert [(item, [said.reviewer for said in answers]) for item, answers in queue.reviewed()] == [
        (items[0], ["ada"]),
        (items[1], ["ada", "bob"]),
    ]


def test_a_later_answer_replaces_the_earlier_and_can_be_withdrawn(queue: SqliteQueue) -> None:
    item = single_label([Message(role="user", content="Who?")], "production", "Nobody.", "alarm", judge_label="bad")
    queue.add([item])
    queue.record(answer(item, "ada", "good"))
    queue.record(answer(item, "ada", "bad", 1))

    assert [said.label for said in queue.reviewed()[0].answers] == ["bad"]
    queue.withdraw(item.item_id, "ada")
    assert queue.reviewed() == [] and queue.pending("ada") == [item]


def test_what_cannot_be_answered_is_refused(queue: SqliteQueue, tmp_path: Path) -> None:
    item = pair(1)
    with pytest.raises(LlmopsError, match=r"review.db: there is no such review queue; add items to it first"):
        queue.pending("ada")
    queue.add([item])

    with pytest.raises(LlmopsError, match="takes production, shadow, tie, not 'left'"):
        queue.record(answer(item, "ada", "left"))
    with pytest.raises(LlmopsError, match="has no item"):
        queue.record(answer(pair(2), "ada", "tie"))
    (tmp_path / "notes.txt").write_text("no database at all, only text" * 9)
    with pytest.raises(LlmopsError, match=r"notes.txt: cannot be used as a review queue \(file is not a database\)"):
        SqliteQueue(str(tmp_path / "notes.txt")).pending()


def test_several_people_answer_at_once_and_nothing_is_lost(queue: SqliteQueue) -> None:
    items = [pair(number) for number in range(20)]
    queue.add(items)

    def label_all(reviewer: str) -> None:
        for item in items:
            queue.record(answer(item, reviewer, "tie"))

    with ThreadPoolExecutor(4) as people:
        list(people.map(label_all, ["ada", "bob", "cyd", "dan"]))

    assert [len(answers) for _, answers in queue.reviewed()] == [4] * 20


def test_the_order_is_blind_balanced_and_stays() -> None:
    items = [pair(number) for number in range(400)]
    first = [shown_order(item, "ada")[0].name for item in items]

    assert first == [shown_order(item, "ada")[0].name for item in items]
    assert 160 < first.count("shadow") < 240
    assert [shown_order(item, "bob")[0].name for item in items] != first
    assert {candidate.name for candidate in shown_order(items[0], "ada")} == {"production", "shadow"}


def test_an_items_id_is_what_is_asked_and_shown() -> None:
    item = pair(1)

    assert side_by_side(item.messages, {"shadow": "It returns 1.", "production": "It runs 1."}, "alarm").item_id == item.item_id
    assert side_by_side(item.messages, {"shadow": "It runs 1.", "production": "It returns 1."}, "random").item_id != item.item_id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ["production", "shadow"]}, "labels of side_by_side must be the candidates and tie"),
        ({"judge_label": "left"}, "judge_label 'left' is none of"),
        ({"kind": "label"}, "kind label takes 1 candidates"),
        ({"labels": ["a", "a", "tie"]}, "labels must differ"),
    ],
)
def test_an_item_nobody_could_answer_is_none(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ReviewItem.model_validate(pair(1).model_dump() | changes)
