"""Making review items, and the blind order their candidates are shown in."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.review import TIE, Candidate, ReviewItem

Sampled = Literal["uncertainty", "alarm", "random", "all"]

BETTER = "Which answer is better?"
GOOD_OR_BAD = ("good", "bad")


def side_by_side(
    messages: Sequence[Message],
    responses: Mapping[str, str],
    sampled: Sampled,
    question: str = BETTER,
    reference: str | None = None,
    judge_label: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ReviewItem:
    """Which of two answers is better; `responses` maps the two candidates' names to their answers."""
    labels = [*responses, TIE]
    return make_item("side_by_side", question, messages, responses, labels, reference, judge_label, sampled, metadata or {})


def single_label(
    messages: Sequence[Message],
    name: str,
    response: str,
    sampled: Sampled,
    question: str = "Is this answer right and of use?",
    labels: Sequence[str] = GOOD_OR_BAD,
    reference: str | None = None,
    judge_label: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ReviewItem:
    """Which label fits an answer of `name`."""
    return make_item("label", question, messages, {name: response}, list(labels), reference, judge_label, sampled, metadata or {})


def make_item(
    kind: Literal["side_by_side", "label"],
    question: str,
    messages: Sequence[Message],
    responses: Mapping[str, str],
    labels: list[str],
    reference: str | None,
    judge_label: str | None,
    sampled: Sampled,
    metadata: Mapping[str, str],
) -> ReviewItem:
    """An item whose id is the digest of what is asked and shown; why it was sampled and what a model said do not change it."""
    shown = [kind, question, *(f"{message.role}: {message.content}" for message in messages)]
    shown += [text for name in sorted(responses) for text in (name, responses[name])] + sorted(labels)
    return ReviewItem(
        item_id=hashlib.sha256("\0".join(shown).encode()).hexdigest()[:24],
        kind=kind,
        question=question,
        messages=list(messages),
        candidates=[Candidate(name=name, response=response) for name, response in responses.items()],
        labels=labels,
        reference=reference,
        judge_label=judge_label,
        sampled=sampled,
        metadata=dict(metadata),
    )


def shown_order(item: ReviewItem, reviewer: str) -> list[Candidate]:
    """The candidates in the order a person sees them: by a hash, so that nobody can tell who is who, and the same when asked again."""
    flipped = hashlib.sha256(f"{item.item_id}\0{reviewer}".encode()).digest()[0] & 1
    return item.candidates[::-1] if flipped else list(item.candidates)
