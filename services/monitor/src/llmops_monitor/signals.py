"""The descriptors of an exchange: one function each, all in one table, none of which needs a model."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from llmops_monitor.descriptors import signature_of
from llmops_monitor.rules.attack import hidden_order, injection, jailbreak
from llmops_monitor.rules.language import UNKNOWN, language
from llmops_monitor.rules.pii import pii
from llmops_monitor.rules.readability import reading_grade
from llmops_monitor.rules.refusal import refusal
from llmops_monitor.rules.relevance import groundedness, relevance_of_context, relevance_to_prompt, unsupported_specifics
from llmops_monitor.rules.repetition import repeatability, repeated_trigram_share
from llmops_monitor.rules.sentiment import sentiment
from llmops_monitor.rules.texts import Text, Texts
from llmops_monitor.rules.toxicity import toxicity
from llmops_monitor.rules.validity import format_valid
from llmops_monitor.rules.words import Block, Exchanged
from llmops_shared.statistics import Floats

TOGETHER = 1000
"""Exchanges measured at once: enough for arrays, few enough for the processor's own memory."""


class Signal(NamedTuple):
    """One figure of an exchange."""

    name: str
    value: Callable[[Block], Floats]
    """Of each exchange of a block [num_exchanges]; NaN where it is not defined."""
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
        lambda b: b.num_prompt_tokens,
        "size of the prompt as the served model counts",
        "count",
        "the exchange",
        unit="tokens",
    ),
    Signal(
        "response_tokens",
        lambda b: b.num_response_tokens,
        "size of the answer",
        "count",
        "the exchange",
        unit="tokens",
    ),
    Signal(
        "prompt_readability",
        lambda b: reading_grade(b.prompts),
        "school years needed to read the prompt",
        "rule",
        "Flesch-Kincaid, 1975",
    ),
    Signal(
        "readability",
        lambda b: reading_grade(b.responses),
        "school years needed to read the answer",
        "rule",
        "Flesch-Kincaid, 1975",
    ),
    Signal(
        "repetitiveness",
        lambda b: repeated_trigram_share(b.responses),
        "share of three-word runs said again",
        "rule",
        "Welleck et al. 2020",
        "lower",
        0.3,
    ),
    Signal("prompt_sentiment", lambda b: sentiment(b.prompts), "-1 unkind to 1 kind", "lexicon", "VADER, 2014"),
    Signal("sentiment", lambda b: sentiment(b.responses), "-1 unkind to 1 kind", "lexicon", "VADER, 2014"),
    Signal(
        "prompt_toxicity",
        lambda b: toxicity(b.prompts),
        "insult, threat or hostility to a group, 0 to 1",
        "lexicon",
        "VADER's words, own rules",
        "lower",
        0.2,
    ),
    Signal(
        "toxicity",
        lambda b: toxicity(b.responses),
        "insult, threat or hostility to a group, 0 to 1",
        "lexicon",
        "VADER's words, own rules",
        "lower",
        0.2,
    ),
    Signal("refusal", lambda b: refusal(b.responses), "the answer declines, 0 to 1", "rule", "own patterns", at=0.4),
    Signal(
        "injection",
        lambda b: injection(b.prompts),
        "the prompt gives the model new orders, 0 to 1",
        "rule",
        "own patterns",
        "lower",
        0.6,
    ),
    Signal(
        "hidden_injection",
        lambda b: of_retrieved(b, hidden_order(b.contexts, b.retrieved)),
        "what was retrieved holds an order, 0 to 1",
        "rule",
        "own patterns",
        "lower",
        0.4,
    ),
    Signal(
        "jailbreak",
        lambda b: jailbreak(b.prompts),
        "the prompt wants a model without rules, 0 to 1",
        "rule",
        "own patterns",
        "lower",
        0.35,
    ),
    Signal(
        "relevance_to_prompt",
        lambda b: relevance_to_prompt(b.prompts, b.responses),
        "share of the prompt's content words in the answer",
        "rule",
        "word overlap",
        "higher",
    ),
    Signal(
        "relevance_to_context",
        lambda b: of_retrieved(b, relevance_of_context(b.prompts, b.contexts)),
        "share of the prompt's content words in what was retrieved",
        "rule",
        "word overlap",
        "higher",
    ),
    Signal(
        "groundedness",
        lambda b: of_retrieved(b, groundedness(b.responses, b.contexts)),
        "share of the answer's content words in what was retrieved",
        "rule",
        "word overlap",
        "higher",
    ),
    Signal(
        "unsupported_specifics",
        lambda b: unsupported_specifics(b.prompts, b.responses, b.contexts),
        "share of numbers and names that neither prompt nor context has",
        "rule",
        "own",
        "lower",
    ),
    Signal(
        "pii",
        lambda b: pii(b.responses),
        "pieces of personal data and secrets in the answer",
        "rule",
        "own patterns, check digits",
        "lower",
        1,
    ),
    Signal(
        "language_kept",
        lambda b: language_kept(b.prompts, b.responses),
        "the answer is in the prompt's language",
        "lexicon",
        "function words, scripts",
        "higher",
    ),
    Signal(
        "format_valid",
        lambda b: format_valid(b.prompts, b.responses),
        "JSON that was asked for parses, fences are closed",
        "rule",
        "RFC 8259, CommonMark",
        "higher",
    ),
)
REPEATABILITY = "repeatability"
COST = "cost_usd"


def of_retrieved(block: Block, figures: Floats) -> Floats:
    """The figures, NaN where nothing was retrieved."""
    return np.where(block.retrieved, figures, math.nan)


def language_kept(prompts: Texts, responses: Texts) -> Floats:
    """1 where prompt and answer are in one language; NaN where one of them cannot be told."""
    asked, answered = np.array(language(prompts)), np.array(language(responses))
    return np.where((asked == UNKNOWN) | (answered == UNKNOWN), math.nan, asked == answered)


def measure(exchanges: Iterable[Exchanged], signals: Sequence[Signal] = SIGNALS) -> dict[str, Floats]:
    """Every signal of every exchange, each an array [num_exchanges] with NaN where it is not defined."""
    found: list[list[Floats]] = [[np.zeros(0)] for _ in signals]
    for block in blocks(exchanges):
        for columns, signal in zip(found, signals, strict=True):
            columns.append(signal.value(block))
    return {signal.name: np.concatenate(columns) for signal, columns in zip(signals, found, strict=True)}


def languages(texts: Sequence[str]) -> list[str]:
    """The language of each text, for the mix."""
    starts = range(0, len(texts), TOGETHER)
    return [code for start in starts for code in language(Texts(texts[start : start + TOGETHER]))]


def blocks(exchanges: Iterable[Exchanged]) -> Iterator[Block]:
    """The exchanges, TOGETHER at a time."""
    remaining = iter(exchanges)
    while listed := list(islice(remaining, TOGETHER)):
        yield Block(listed)


def repeated_answers(exchanges: Sequence[Exchanged]) -> Mapping[str, float]:
    """Prompt signature to how alike its answers are, for prompts that were answered twice or more."""
    groups: dict[str, list[Text]] = defaultdict(list)
    for exchange in exchanges:
        groups[signature_of(exchange.prompt.content)].append(exchange.response)
    # pairs grow with the square: ten answers say enough about a prompt
    return {signature: repeatability(answers[:10]) for signature, answers in groups.items() if len(answers) > 1}
