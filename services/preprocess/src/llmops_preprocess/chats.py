"""The chat view: conversations made from library entries, balanced over the entries."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from llmops_preprocess.config import QuestionKind, Questions
from llmops_preprocess.questions import ask
from llmops_preprocess.record import Record, count
from llmops_shared.contracts.dataset import StageCount
from llmops_shared.contracts.exchange import Message


class Candidate(NamedTuple):
    """A question that may be kept."""

    document: Record
    """The entry it is about."""
    kind: QuestionKind
    """Question kind."""
    question: str
    """What the user says."""
    answer: str
    """What the assistant says."""


def make_chats(documents: Sequence[Record], config: Questions) -> tuple[list[tuple[Record, Record]], StageCount]:
    """(document, chat) of every question kept, in order of the documents.

    Dropped: `ambiguous`, a question that several entries answer in different ways; `repeated`, one they answer alike;
    `per_document` and `limit`, those over the settings of that name, chosen by hash.
    """
    candidates = [
        Candidate(document, kind, question, answer)
        for document in documents
        if document.definition is not None
        for kind, question, answer in ask(document.definition, config.kinds)
    ]
    dropped = Counter[str]()
    kept = capped(unambiguous(candidates, dropped), config, dropped)
    return [(item.document, chat(item)) for item in kept], count("questions", len(candidates), len(kept), dropped)


def unambiguous(candidates: list[Candidate], dropped: Counter[str]) -> list[Candidate]:
    """The candidates whose question has one answer, each question once."""
    answers: dict[str, set[str]] = {}
    for item in candidates:
        answers.setdefault(item.question, set()).add(item.answer)
    kept, asked = [], set[str]()
    for item in candidates:
        if len(answers[item.question]) > 1:
            dropped["ambiguous"] += 1
        elif item.question in asked:
            dropped["repeated"] += 1
        else:
            asked.add(item.question)
            kept.append(item)
    return kept


def capped(candidates: list[Candidate], config: Questions, dropped: Counter[str]) -> list[Candidate]:
    """The candidates within `per_document` and `limit`, in their order; a hash decides which go."""
    ranked = sorted(range(len(candidates)), key=lambda number: hashlib.sha256(candidates[number].question.encode()).digest())
    taken, of_document = list[int](), Counter[str]()
    for number in ranked:
        source = candidates[number].document.source
        if of_document[source] == config.per_document:
            dropped["per_document"] += 1
        elif len(taken) == config.limit:
            dropped["limit"] += 1
        else:
            of_document[source] += 1
            taken.append(number)
    return [candidates[number] for number in sorted(taken)]


def chat(item: Candidate) -> Record:
    """The conversation."""
    return Record(
        source=item.document.source,
        text=f"{item.question}\n\n{item.answer}",
        licence=item.document.licence,
        metadata={**item.document.metadata, "question": item.kind},
        messages=(Message(role="user", content=item.question), Message(role="assistant", content=item.answer)),
    )
