"""Figures from judged rows, each with its interval; a figure without rows is an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops_shared.contracts.report import Measurement
from llmops_shared.errors import LlmopsError
from llmops_train.evaluation.config import LIKELIHOOD
from llmops_train.metrics.resampling import interval
from llmops_train.metrics.scores import Scores, make_scores


@dataclass(frozen=True)
class Judged:
    """One row with everything measured on it."""

    row_id: str
    question: str
    """Kind of question."""
    prompt: str
    reference: str
    answer: str | None
    """The generated answer; None where the row was only scored."""
    nll: float
    """Of the reference, in nats."""
    num_tokens: int
    """Of the reference."""
    rouge_l: float | None
    """Of the answer."""
    exact: bool | None
    """Whether the answer is the reference but for white space."""
    for_perplexity: bool
    """Whether the row is of the sample that perplexity is measured on."""


def same_words(left: str, right: str) -> bool:
    """Whether two texts are equal but for white space."""
    return left.split() == right.split()


def score_rows(rows: Sequence[Judged], names: Sequence[str], texts: Mapping[str, Scores]) -> list[Scores]:
    """The measures asked for that have a value in every row, in that order; `texts` holds those of answers beside references.

    Raises LlmopsError when one has no row to come from.
    """
    return [texts[name] if name in texts else one_measure(rows, name) for name in dict.fromkeys(names) if name != "tokens_per_second"]


def one_measure(rows: Sequence[Judged], name: str) -> Scores:
    """One measure of the judged rows."""
    answered = [row for row in rows if row.answer is not None]
    if name in LIKELIHOOD:
        return likelihood(name, [row for row in rows if row.for_perplexity and row.num_tokens])
    match name:
        case "rouge_l":
            chosen, values = answered, [row.rouge_l for row in answered]
        case "answer_exact_match":
            chosen, values = answered, [row.exact for row in answered]
        case "signature_exact_match":
            chosen = [row for row in answered if row.question == "signature"]
            values = [row.exact for row in chosen]
        case _:
            raise LlmopsError(f"measures: {name} cannot be had from questions with answers; leave {name} out of measures")
    check(name, chosen)
    signature = "rouge-score:0.1.2|stem:no|f1" if name == "rouge_l" else "equal but for white space"
    return make_scores(name, [row.row_id for row in chosen], [float(value or 0) for value in values], signature)


def likelihood(name: str, rows: Sequence[Judged]) -> Scores:
    """Perplexity by token or by word, or bits per byte, of the references."""
    check(name, rows)
    ids = [row.row_id for row in rows]
    match name:
        case "perplexity":
            table, formula = [(row.nll, row.num_tokens) for row in rows], "exp_ratio"
        case "word_perplexity":
            table, formula = [(row.nll, len(row.reference.split()) or 1) for row in rows], "exp_ratio"
        case _:
            table, formula = [(row.nll, len(row.reference.encode()) or 1) for row in rows], "bits_ratio"
    return make_scores(name, ids, table, "nats of the reference and its end|natural log", formula, "lower")


def measure(rows: Sequence[Judged], names: Sequence[str], tokens_per_second: float | None, seed: int) -> list[Measurement]:
    """The figures asked for, in that order, with their intervals. Raises LlmopsError when one has no row to come from."""
    return figures(score_rows(rows, names, {}), names, tokens_per_second, sum(row.answer is not None for row in rows), seed)


def figures(
    scores: Sequence[Scores], names: Sequence[str], tokens_per_second: float | None, num_answered: int, seed: int
) -> list[Measurement]:
    """Measurements of scores, with the speed of generation at its place."""
    found = {one.name: measurement(one, seed) for one in scores}
    if "tokens_per_second" in names:
        if tokens_per_second is None:
            check("tokens_per_second", [])
        found["tokens_per_second"] = Measurement(
            name="tokens_per_second",
            value=tokens_per_second or 0.0,
            low=None,
            high=None,
            confidence=None,
            num_rows=num_answered,
            better="higher",
            unit="tokens/s",
        )
    order = [*dict.fromkeys(names), *(name for name in found if name not in names)]
    return [found[name] for name in order if name in found]


def measurement(scores: Scores, seed: int) -> Measurement:
    """A Measurement with its interval."""
    estimate = interval(scores, seed=seed)
    return Measurement(name=scores.name, **estimate._asdict(), better=scores.better, details={"signature": scores.signature})


def check(name: str, rows: Sequence[object]) -> None:
    """Raises LlmopsError for a figure without rows."""
    if not rows:
        raise LlmopsError(f"measures: the split offers no row for {name}; judge a split that has some, or leave {name} out of measures")
