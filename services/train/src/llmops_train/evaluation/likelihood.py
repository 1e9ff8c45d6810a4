"""Negative log-likelihood of answers and texts, a row at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch  # noqa: TID253 - this module is imported late

from llmops_train.evaluation.questions import Question

TOKENS_PER_PASS = 4096  # bounds the logits: 64 MB for a vocabulary of 4,096 tokens in float32
IGNORED = -100


class Likelihood(NamedTuple):
    """How surprising a row was."""

    nll: float
    """Sum over its scored tokens, in nats."""
    num_tokens: int
    """Scored tokens."""


class Piece(NamedTuple):
    """A stretch of tokens that fits the model, and from where on it is scored."""

    row: int
    ids: tuple[int, ...]
    scored_from: int


@torch.no_grad()
def score(model: Any, questions: Sequence[Question], window: int, stride: int | None = None) -> list[Likelihood]:
    """The likelihood of each row: of answers alone where there is a prompt, else of all tokens but the first.

    A longer text is read in windows of `window` tokens that move on by `stride`: a token is scored once, with at least
    `window - stride` tokens before it. Without a stride windows do not overlap, and the first token of each is not scored.
    """
    nll, counts = [0.0] * len(questions), [0] * len(questions)
    for pieces in in_passes(sorted(cut(questions, window, stride or window), key=lambda piece: len(piece.ids))):
        longest = len(pieces[-1].ids)
        ids = torch.tensor([[*piece.ids, *[0] * (longest - len(piece.ids))] for piece in pieces])
        labels = torch.full_like(ids, IGNORED)
        for line, piece in enumerate(pieces):
            labels[line, piece.scored_from - 1 : len(piece.ids) - 1] = torch.tensor(piece.ids[piece.scored_from :])
        attention_mask = torch.tensor([[1] * len(piece.ids) + [0] * (longest - len(piece.ids)) for piece in pieces])
        logits = model(input_ids=ids, attention_mask=attention_mask, use_cache=False).logits
        wanted = labels != IGNORED
        losses = torch.zeros(ids.shape, dtype=torch.float64)
        losses[wanted] = torch.nn.functional.cross_entropy(logits[wanted].float(), labels[wanted], reduction="none").double()
        for piece, loss, number in zip(pieces, losses.sum(1).tolist(), wanted.sum(1).tolist(), strict=True):
            nll[piece.row] += loss
            counts[piece.row] += number
    return [Likelihood(*pair) for pair in zip(nll, counts, strict=True)]


def cut(questions: Sequence[Question], window: int, stride: int) -> Iterator[Piece]:
    """Questions whole, texts in windows; a window of one token has nothing to score."""
    for row, question in enumerate(questions):
        if question.prompt_ids:
            yield Piece(row, question.prompt_ids + question.answer_ids, len(question.prompt_ids))
            continue
        scored = 0
        for start in range(0, len(question.answer_ids), stride):
            ids = question.answer_ids[start : start + window]
            if start + len(ids) <= scored:
                break
            if len(ids) > 1:
                yield Piece(row, ids, max(1, scored - start))
            scored = start + len(ids)


def in_passes(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces of rising length in groups of at most TOKENS_PER_PASS tokens, padding included."""
    group: list[Piece] = []
    for piece in pieces:
        if group and (len(group) + 1) * len(piece.ids) > TOKENS_PER_PASS:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group
