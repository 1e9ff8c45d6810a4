"""Figures from judged rows, each with its interval; a figure without rows is an error."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmops_shared.contracts.report import Measurement
from llmops_shared.errors import LlmopsError
from llmops_shared.statistics import Estimate, bootstrap, mean, perplexity
from llmops_train.config import Measure


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


def measure(rows: Sequence[Judged], names: Sequence[Measure], tokens_per_second: float | None, seed: int) -> list[Measurement]:
    """The figures asked for, in that order. Raises LlmopsError when one has no row to come from."""
    return [one_measure(rows, name, tokens_per_second, seed) for name in dict.fromkeys(names)]


def one_measure(rows: Sequence[Judged], name: Measure, tokens_per_second: float | None, seed: int) -> Measurement:
    """One figure."""
    answered = [row for row in rows if row.answer is not None]
    match name:
        case "perplexity":
            table = [(row.nll, row.num_tokens) for row in rows if row.for_perplexity and row.num_tokens]
            check(name, table)
            return measurement(name, bootstrap(table, perplexity, seed=seed), "lower")
        case "rouge_l":
            return measurement(name, average(name, [row.rouge_l for row in answered], seed), "higher")
        case "answer_exact_match":
            return measurement(name, average(name, [row.exact for row in answered], seed), "higher")
        case "signature_exact_match":
            return measurement(name, average(name, [row.exact for row in answered if row.question == "signature"], seed), "higher")
        case "tokens_per_second":
            if tokens_per_second is None:
                check(name, [])
            assert tokens_per_second is not None
            speed = tokens_per_second
            return Measurement(
                name=name, value=speed, low=None, high=None, confidence=None, num_rows=len(answered), better="higher", unit="tokens/s"
            )


def average(name: str, values: Sequence[float | None], seed: int) -> Estimate:
    """Mean with its interval."""
    check(name, values)
    return bootstrap([float(value) for value in values if value is not None], mean, seed=seed)


def measurement(name: str, estimate: Estimate, better: str) -> Measurement:
    """A Measurement from an estimate."""
    return Measurement.model_validate({"name": name, **estimate._asdict(), "better": better})


def check(name: str, rows: Sequence[object]) -> None:
    """Raises LlmopsError for a figure without rows."""
    if not rows:
        raise LlmopsError(f"measures: the split offers no row for {name}; judge a split that has some, or leave {name} out of measures")
