"""The review queue in a SQLite file; several people and processes may use it at once."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmops_shared.contracts.review import ReviewAnswer, ReviewItem
from llmops_shared.errors import LlmopsError
from llmops_shared.review.queue import Reviewed

TABLES = """
create table if not exists items (place integer primary key autoincrement, item_id text unique not null, document text not null);
create table if not exists answers (
    item_id text not null references items (item_id), reviewer text not null, time text not null, document text not null,
    primary key (item_id, reviewer)
);
"""
BUSY_TIMEOUT_S = 30.0


class SqliteQueue:
    """Items and answers as JSON documents, a row each."""

    def __init__(self, path: str, answers_per_item: int = 2) -> None:
        """`answers_per_item`: once so many people answered an item it is offered to no other; two are what agreement takes."""
        self.path = path
        self.answers_per_item = answers_per_item

    def add(self, items: Sequence[ReviewItem]) -> int:
        with self._open(create=True) as database:
            before = database.total_changes
            rows = [(item.item_id, item.model_dump_json()) for item in items]
            database.executemany("insert or ignore into items (item_id, document) values (?, ?)", rows)
            return database.total_changes - before

    def requests(self, items: Sequence[ReviewItem]) -> list[dict[str, Any]]:
        return []

    def pending(self, reviewer: str | None = None, limit: int | None = None) -> list[ReviewItem]:
        enough = 1 if reviewer is None else self.answers_per_item
        query = (
            "select document from items where (select count(*) from answers where answers.item_id = items.item_id) < ? "
            "and not exists (select 1 from answers where answers.item_id = items.item_id and reviewer = ?) order by place limit ?"
        )
        with self._open() as database:
            rows = database.execute(query, (enough, reviewer or "", -1 if limit is None else limit)).fetchall()
        return [ReviewItem.model_validate_json(document) for (document,) in rows]

    def record(self, answer: ReviewAnswer) -> None:
        """Keeps an answer; a person's later one replaces the earlier. Raises LlmopsError for an unknown item or label."""
        labels = self.item(answer.item_id).labels
        if answer.label not in labels:
            raise LlmopsError(f"{self.path}: item {answer.item_id} takes {', '.join(labels)}, not {answer.label!r}")
        with self._open() as database:
            values = (answer.item_id, answer.reviewer, answer.time.isoformat(), answer.model_dump_json())
            database.execute("insert or replace into answers (item_id, reviewer, time, document) values (?, ?, ?, ?)", values)

    def item(self, item_id: str) -> ReviewItem:
        """One item. Raises LlmopsError when it is not in the queue."""
        with self._open() as database:
            row = database.execute("select document from items where item_id = ?", (item_id,)).fetchone()
        if row is None:
            raise LlmopsError(f"{self.path}: has no item {item_id}; it may belong to another queue")
        return ReviewItem.model_validate_json(row[0])

    def withdraw(self, item_id: str, reviewer: str) -> None:
        """Takes a person's answer back, so that the item waits for it again."""
        with self._open() as database:
            database.execute("delete from answers where item_id = ? and reviewer = ?", (item_id, reviewer))

    def reviewed(self) -> list[Reviewed]:
        query = "select items.document, answers.document from items join answers using (item_id) order by place, answers.time, reviewer"
        found: dict[str, Reviewed] = {}
        with self._open() as database:
            for item, answer in database.execute(query):
                reviewed = found.setdefault(item, Reviewed(ReviewItem.model_validate_json(item), []))
                reviewed.answers.append(ReviewAnswer.model_validate_json(answer))
        return list(found.values())

    def labels(self) -> list[list[str]]:
        """The labels each item got, for agreement, without reading the items."""
        found: dict[str, list[str]] = {}
        with self._open() as database:
            for item_id, label in database.execute("select item_id, json_extract(document, '$.label') from answers"):
                found.setdefault(item_id, []).append(label)
        return list(found.values())

    def last_answered(self, reviewer: str) -> str | None:
        """Id of the item a person answered last."""
        with self._open() as database:
            query = "select item_id from answers where reviewer = ? order by rowid desc limit 1"
            row = database.execute(query, (reviewer,)).fetchone()
        return None if row is None else str(row[0])

    def num_answered(self, reviewer: str) -> int:
        """Items a person has answered."""
        with self._open() as database:
            return int(database.execute("select count(*) from answers where reviewer = ?", (reviewer,)).fetchone()[0])

    def count(self) -> int:
        """Items in the queue, answered or not."""
        with self._open() as database:
            return int(database.execute("select count(*) from items").fetchone()[0])

    @contextlib.contextmanager
    def _open(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction. Raises LlmopsError when there is no such queue, or the file is none."""
        path = Path(self.path)
        if not create and not path.exists():
            raise LlmopsError(f"{self.path}: there is no such review queue; add items to it first, or correct the path")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as database, database:
                database.execute("pragma journal_mode = wal")  # readers do not wait for a writer
                database.executescript(TABLES)
                yield database
        except (sqlite3.DatabaseError, OSError) as error:
            raise LlmopsError(f"{self.path}: cannot be used as a review queue ({error}); name another file") from error
