"""The descriptors of an exchange: one function each, all in one table, none of which needs a model."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from llmops_monitor.descriptors import signature_of
from llmops_monitor.rules.language import UNKNOWN, language
from llmops_monitor.rules.pii import pii
from llmops_monitor.rules.readability import reading_grade
from llmops_monitor.rules.refusal import refusal
from llmops_monitor.rules.relevance import groundedness, relevance_of_context, relevance_to_prompt, unsupported_specifics
from llmops_monitor.rules.repetition import repeatability, repeated_trigram_share
from llmops_monitor.rules.sentiment import sentiment
from llmops_monitor.rules.toxicity import toxicity
from llmops_monitor.rules.validity import format_valid
from llmops_monitor.rules.words import Exchanged, Words
from llmops_shared.attack import hidden_order, injection, jailbreak
from llmops_shared.statistics import Floats


class Signal(NamedTuple):
    """One figure of an exchange."""

    name: str
    value: Callable[[Exchanged], float | None]
    """None where it is not defined for the exchange."""
    meaning: str
    basis: Literal["count", "rule", "lexicon"]
    source: str
    """Paper or origin."""
    better: Literal["higher", "lower", "neither"] = "neither"
    at: float | None = None
    """From this value on an exchange counts as one of the kind (a refusal, an attack); chosen on labelled data, see the README."""
    unit: str = ""


SIGNALS = (
    Signal(
        "prompt_tokens",
        lambda e: e.num_prompt_tokens,
        "size of the prompt as the served model counts",
        "count",
        "the exchange",
        unit="tokens",
    ),
    Signal("response_tokens", lambda e: e.num_response_tokens, "size of the answer", "count", "the exchange", unit="tokens"),
    Signal(
        "prompt_readability", lambda e: reading_grade(e.prompt), "school years needed to read the prompt", "rule", "Flesch-Kincaid, 1975"
    ),
    Signal("readability", lambda e: reading_grade(e.response), "school years needed to read the answer", "rule", "Flesch-Kincaid, 1975"),
    Signal(
        "repetitiveness",
        lambda e: repeated_trigram_share(e.response),
        "share of three-word runs said again",
        "rule",
        "Welleck et al. 2020",
        "lower",
        0.3,
    ),
    Signal("prompt_sentiment", lambda e: sentiment(e.prompt), "-1 unkind to 1 kind", "lexicon", "VADER, 2014"),
    Signal("sentiment", lambda e: sentiment(e.response), "-1 unkind to 1 kind", "lexicon", "VADER, 2014"),
    Signal(
        "prompt_toxicity",
        lambda e: toxicity(e.prompt),
        "insult, threat or hostility to a group, 0 to 1",
        "lexicon",
        "VADER's words, own rules",
        "lower",
        0.2,
    ),
    Signal(
        "toxicity",
        lambda e: toxicity(e.response),
        "insult, threat or hostility to a group, 0 to 1",
        "lexicon",
        "VADER's words, own rules",
        "lower",
        0.2,
    ),
    Signal("refusal", lambda e: refusal(e.response), "the answer declines, 0 to 1", "rule", "own patterns", at=0.4),
    Signal(
        "injection", lambda e: injection(e.prompt), "the prompt gives the model new orders, 0 to 1", "rule", "own patterns", "lower", 0.6
    ),
    Signal(
        "hidden_injection",
        lambda e: None if e.context is None else hidden_order(e.context),
        "what was retrieved holds an order, 0 to 1",
        "rule",
        "own patterns",
        "lower",
        0.4,
    ),
    Signal(
        "jailbreak", lambda e: jailbreak(e.prompt), "the prompt wants a model without rules, 0 to 1", "rule", "own patterns", "lower", 0.35
    ),
    Signal(
        "relevance_to_prompt",
        lambda e: relevance_to_prompt(e.prompt, e.response),
        "share of the prompt's content words in the answer",
        "rule",
        "word overlap",
        "higher",
    ),
    Signal(
        "relevance_to_context",
        lambda e: None if e.context is None else relevance_of_context(e.prompt, e.context),
        "share of the prompt's content words in what was retrieved",
        "rule",
        "word overlap",
        "higher",
    ),
    Signal(
        "groundedness",
        lambda e: None if e.context is None else groundedness(e.response, e.context),
        "share of the answer's content words in what was retrieved",
        "rule",
        "word overlap",
        "higher",
    ),
    Signal(
        "unsupported_specifics",
        lambda e: unsupported_specifics(e.prompt, e.response, e.context),
        "share of numbers and names that neither prompt nor context has",
        "rule",
        "own",
        "lower",
    ),
    Signal(
        "pii",
        lambda e: pii(e.response),
        "pieces of personal data and secrets in the answer",
        "rule",
        "own patterns, check digits",
        "lower",
        1,
    ),
    Signal(
        "language_kept",
        lambda e: language_kept(e),
        "the answer is in the prompt's language",
        "lexicon",
        "function words, scripts",
        "higher",
    ),
    Signal(
        "format_valid",
        lambda e: format_valid(e.prompt, e.response),
        "JSON that was asked for parses, fences are closed",
        "rule",
        "RFC 8259, CommonMark",
        "higher",
    ),
)
REPEATABILITY = "repeatability"
COST = "cost_usd"


def language_kept(exchange: Exchanged) -> float | None:
    """1 where prompt and answer are in one language; None where one of them cannot be told."""
    asked, answered = language(exchange.prompt), language(exchange.response)
    return None if UNKNOWN in (asked, answered) else float(asked == answered)


def measure(exchanges: Iterable[Exchanged], signals: Sequence[Signal] = SIGNALS) -> dict[str, Floats]:
    """Every signal of every exchange, each an array [num_exchanges] with NaN where it is not defined."""
    functions = [signal.value for signal in signals]
    rows = [[function(exchange) for function in functions] for exchange in exchanges]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(functions))  # None becomes NaN
    return {signal.name: np.ascontiguousarray(table[:, column]) for column, signal in enumerate(signals)}


def languages(texts: Iterable[Words]) -> list[str]:
    """The language of each text, for the mix."""
    return [language(text) for text in texts]


def repeated_answers(exchanges: Sequence[Exchanged]) -> Mapping[str, float]:
    """Prompt signature to how alike its answers are, for prompts that were answered twice or more."""
    groups: dict[str, list[Words]] = defaultdict(list)
    for exchange in exchanges:
        groups[signature_of(exchange.prompt.content)].append(exchange.response)
    # pairs grow with the square: ten answers say enough about a prompt
    return {signature: repeatability(answers[:10]) for signature, answers in groups.items() if len(answers) > 1}
