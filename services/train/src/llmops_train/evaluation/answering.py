"""Questions answered batch by batch: finished batches are kept, and one is scored while the next is answered."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from llmops_train.evaluation.journal import Journal
from llmops_train.evaluation.progress import Progress
from llmops_train.evaluation.questions import Question
from llmops_train.metrics.scores import Scores, join_scores


class Batch(NamedTuple):
    """Answers to some questions, in their order."""

    texts: list[str]
    num_tokens: int
    """Tokens generated."""
    seconds: float
    """Time it took."""


class Answered(NamedTuple):
    """Answers to all questions, in their order."""

    texts: list[str]
    tokens_per_second: float
    scores: dict[str, Scores]
    """What the scorer found, over all batches."""


Answerer = Callable[[Sequence[Question]], Batch]
Scorer = Callable[[Sequence[Question], Sequence[str]], dict[str, Scores]]


def answer_questions(
    questions: Sequence[Question],
    answer: Answerer,
    scorer: Scorer,
    batch_rows: int,
    journal: Journal,
    known: Mapping[str, str] | None = None,
) -> Answered:
    """Answers in batches of like length. Batches come in the same order each time, so that a stopped job goes on where it was.

    `known` holds answers of an earlier report by row id; a batch that it covers is not asked again.
    """
    order = sorted(range(len(questions)), key=lambda number: (len(questions[number].prompt_ids), len(questions[number].prompt)))
    texts, batches, scored = [""] * len(questions), list[Batch](), list[Future[dict[str, Scores]]]()
    progress = Progress("answered", len(questions))
    with ThreadPoolExecutor(1) as beside:
        for start in range(0, len(order), batch_rows):
            numbers = order[start : start + batch_rows]
            asked, name = [questions[number] for number in numbers], f"answers-{start:07}"
            kept = journal.get(name)
            if known and all(question.row_id in known for question in asked):
                kept = Batch([known[question.row_id] for question in asked], 0, 0.0)._asdict()
            if kept is None:
                batch = answer(asked)
                journal.put(name, batch._asdict())
                progress.advance(len(numbers))
            else:
                batch = Batch(**kept)
                progress.keep(len(numbers))
            for number, text in zip(numbers, batch.texts, strict=True):
                texts[number] = text
            batches.append(batch)
            scored.append(beside.submit(scorer, asked, batch.texts))
    parts = [future.result() for future in scored]
    seconds = sum(batch.seconds for batch in batches)
    speed = sum(batch.num_tokens for batch in batches) / seconds if seconds else 0.0
    return Answered(texts, speed, {name: join_scores([part[name] for part in parts]) for name in (parts[0] if parts else {})})
