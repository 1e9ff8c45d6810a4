"""What people said, as rows to train on and as a measure of the judge."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmops_shared.contracts.exchange import Message
from llmops_shared.contracts.review import TIE, ReviewAnswer, ReviewItem
from llmops_shared.review.agreement import cohen_kappa, krippendorff_alpha
from llmops_shared.review.queue import Reviewed
from llmops_shared.rows import ChatRow
from llmops_shared.statistics import Estimate

GOOD = "good"


class Calibration(NamedTuple):
    """How far people agree with each other, and a judge with people."""

    num_items: int
    """Items with an answer."""
    alpha: float | None
    """Krippendorff's alpha among people; None where it is not defined."""
    num_judged: int
    """Items that a judge answered as well, and people agree on."""
    judge_agreement: Estimate | None
    """Share of those where the judge said what people said, with its interval."""
    judge_kappa: float | None
    """Cohen's kappa of judge and people."""
    first_shown: Estimate | None
    """Share of side-by-side choices that went to the answer shown first; far from one half, people judge the place."""


def consensus(answers: Sequence[ReviewAnswer]) -> str | None:
    """The label most people gave; None where two are as frequent."""
    counts = Counter(answer.label for answer in answers).most_common(2)
    return None if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]) else counts[0][0]


def calibrate(reviewed: Sequence[Reviewed], confidence: float = 0.95) -> Calibration:
    """Agreement among people, of the judge with people, and of people with the place an answer was shown in."""
    import numpy as np

    from llmops_monitor.metrics import share_interval

    judged = [
        (item.judge_label, said) for item, answers in reviewed if item.judge_label is not None and (said := consensus(answers)) is not None
    ]
    chosen = [
        float(answer.label == answer.first_shown)
        for item, answers in reviewed
        if item.kind == "side_by_side"
        for answer in answers
        if answer.first_shown is not None and answer.label != TIE
    ]
    hits = [float(judge == said) for judge, said in judged]
    return Calibration(
        num_items=len(reviewed),
        alpha=krippendorff_alpha([[answer.label for answer in answers] for _, answers in reviewed]),
        num_judged=len(judged),
        judge_agreement=share_interval(np.array(hits), confidence) if hits else None,
        judge_kappa=cohen_kappa(judged),
        first_shown=share_interval(np.array(chosen), confidence) if chosen else None,
    )


def training_rows(reviewed: Iterable[Reviewed], licence: str) -> list[ChatRow]:
    """The answers worth learning: a person's own correction, else the answer people preferred or called good."""
    rows = []
    for item, answers in reviewed:
        answer, how = best_answer(item, answers)
        if answer is not None and answer.strip():
            rows.append(chat_row(item.messages, answer, f"review/{item.item_id}", {**item.metadata, "label": how}, licence))
    return rows


def best_answer(item: ReviewItem, answers: Sequence[ReviewAnswer]) -> tuple[str | None, str]:
    """The text and how it was found; the last correction wins over any answer of a model."""
    corrections = [answer.correction for answer in answers if answer.correction]
    if corrections:
        return corrections[-1], "corrected"
    label = consensus(answers)
    if item.kind == "side_by_side":
        return next((candidate.response for candidate in item.candidates if candidate.name == label), None), "preferred"
    return (item.candidates[0].response if label == GOOD else None), GOOD


def chat_row(messages: Sequence[Message], answer: str, source: str, metadata: dict[str, str], licence: str) -> ChatRow:
    """A row as preprocess reads it: the conversation, the answer last."""
    conversation = [*messages, Message(role="assistant", content=answer)]
    told = "\0".join(f"{message.role}: {message.content}" for message in conversation)
    row_id = hashlib.sha256(f"{source}\0{told}".encode()).hexdigest()[:16]
    return ChatRow(id=row_id, messages=conversation, source=source, metadata=metadata, licence=licence)
