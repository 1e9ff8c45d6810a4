"""What flows between the stages: records, and the count each stage leaves."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmops_preprocess.definition import Definition
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.contracts.exchange import Message


@dataclass(frozen=True, slots=True)
class Record:
    """One document on its way through the stages."""

    source: str
    """What it was read from, such as `python:3.11.7/shutil.copytree`."""
    text: str
    """Its text; of a conversation, all its turns."""
    licence: str
    """Licence of the text."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What the source knows of it."""
    definition: Definition | None = None
    """The facts of a library entry, from which questions are made."""
    messages: tuple[Message, ...] = ()
    """The conversation, where the source holds conversations; of a preference pair with the answer that was chosen."""
    rejected: tuple[Message, ...] = ()
    """Of a preference pair the conversation with the other answer."""

    @property
    def content(self) -> str:
        """What it says, without the name it stands under: library entries that say the same of other names are one document."""
        if self.definition is None or self.definition.kind == "topic":
            return self.text
        parameters = (self.definition.signature or "").partition("(")[2]
        return f"{parameters}\n{self.definition.docstring}"


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that could not be read: a line of the dead-letter file."""

    source: str
    """File or module it stands in."""
    line: int
    """Line number, from 1."""
    reason: str
    """Why it could not be read."""


Stage = tuple[list[Record], StageCount]


def keep(stage: str, records: Sequence[Record], reason: Callable[[Record], str | None]) -> Stage:
    """The records without a `reason` to drop them, and the count of those that have one."""
    kept, dropped = [], Counter[str]()
    for record in records:
        why = reason(record)
        if why is None:
            kept.append(record)
        else:
            dropped[why] += 1
    return kept, count(stage, len(records), len(kept), dropped)


def count(stage: str, rows_in: int, rows_out: int, dropped: Counter[str]) -> StageCount:
    """The stage's count. Every row is accounted for, or this is our bug."""
    assert rows_in == rows_out + dropped.total(), f"{stage}: {rows_in} rows in, {rows_out} out, {dropped.total()} dropped"
    return StageCount(stage=stage, rows_in=rows_in, rows_out=rows_out, dropped=dict(sorted(dropped.items())))
