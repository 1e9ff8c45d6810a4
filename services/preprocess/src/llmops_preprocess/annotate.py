"""The stage `annotate`: what a detector says about each document, kept, masked, or as a reason to drop it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from llmops_preprocess.annotate_config import Annotate
from llmops_preprocess.annotations import Annotation
from llmops_preprocess.language import MAX_CHARACTERS, identify
from llmops_preprocess.pii import find_pii, masked_text
from llmops_preprocess.record import Record, Stage, keep
from llmops_preprocess.row_rules_config import Pii

ENTITIES = {"PERSON", "LOCATION", "ORGANIZATION", "COMMERCIAL_ITEM", "EVENT", "DATE", "QUANTITY", "TITLE", "OTHER"}
"""Types of Comprehend's entities; its other types are of PII."""


class Annotator(Protocol):
    """Says what is in texts."""

    def annotate(self, texts: Sequence[str]) -> list[list[Annotation]]:
        """The annotations of each text."""


class LaptopAnnotator:
    """py3langid for the language, rules for PII."""

    def __init__(self, config: Annotate) -> None:
        self.config = config

    def annotate(self, texts: Sequence[str]) -> list[list[Annotation]]:
        return [[item for name in self.config.detect for item in (language(text) if name == "language" else pii(text))] for text in texts]


def language(text: str) -> list[Annotation]:
    """The likeliest language."""
    code, probability = identify(text[:MAX_CHARACTERS])
    return [Annotation(f"LANGUAGE:{code}", 0, len(text), min(probability, 1.0), "py3langid")]


def pii(text: str) -> list[Annotation]:
    """Personal data by the rules, all kinds."""
    return find_pii(text, Pii().kinds)


def annotator_for(config: Annotate) -> Annotator:
    """The annotator of these settings."""
    if config.annotator == "laptop":
        return LaptopAnnotator(config)
    from llmops_preprocess.comprehend import ComprehendAnnotator

    return ComprehendAnnotator(config)


def annotate(records: Sequence[Record], config: Annotate) -> Stage:
    """Every record with its annotations in `metadata`, masked where that is asked.

    Dropped: `other_language`, `class` and `pii`, as the settings say. Metadata `annotations` is JSON, a list of
    [type, begin, end, score]; of a conversation the offsets count in its turns joined by blank lines, those of a rejected answer
    last. No text is in it.
    """
    texts = [words(record) for record in records]
    found = iter(annotator_for(config).annotate([text for parts in texts for text in parts]))
    of_records = [[sure(next(found), config) for _ in parts] for parts in texts]
    reasons = {id(record): reason(parts, config) for record, parts in zip(records, of_records, strict=True)}
    kept, count = keep("annotate", records, lambda record: reasons[id(record)])
    annotated = {id(record): parts for record, parts in zip(records, of_records, strict=True)}
    return [with_annotations(record, annotated[id(record)], config) for record in kept], count


def words(record: Record) -> list[str]:
    """Its text, or the words of every turn."""
    return [message.content for message in (*record.messages, *record.rejected)] or [record.text]


def sure(annotations: Sequence[Annotation], config: Annotate) -> list[Annotation]:
    """Those that are sure enough."""
    return [item for item in annotations if item.score >= config.min_score]


def reason(parts: Sequence[Sequence[Annotation]], config: Annotate) -> str | None:
    """Why the record goes."""
    types = {item.type for part in parts for item in part}
    spoken = {name.removeprefix("LANGUAGE:") for name in types if name.startswith("LANGUAGE:")}
    if config.keep_languages and not spoken & set(config.keep_languages):
        return "other_language"
    if any(f"CLASS:{name}" in types for name in config.drop_classes):
        return "class"
    if config.pii == "drop" and any(is_pii(item) for part in parts for item in part):
        return "pii"
    return None


def is_pii(item: Annotation) -> bool:
    """Whether it is about personal data."""
    return item.type not in ENTITIES and not item.type.startswith(("LANGUAGE:", "CLASS:"))


def with_annotations(record: Record, parts: Sequence[Sequence[Annotation]], config: Annotate) -> Record:
    """The record with what was found in it."""
    if config.pii == "mask":
        hidden = [[item for item in part if is_pii(item)] for part in parts]
        turns = [
            message.model_copy(update={"content": masked_text(message.content, part)})
            for message, part in zip((*record.messages, *record.rejected), hidden, strict=False)
        ]
        messages, rejected = tuple(turns[: len(record.messages)]), tuple(turns[len(record.messages) :])
        text = "\n\n".join(message.content for message in messages) if messages else masked_text(record.text, hidden[0])
        # what is masked is gone: its place in the old text says nothing of the new one
        types = sorted({item.type for part in parts for item in part})
        return replace(
            record, text=text, messages=messages, rejected=rejected, metadata={**record.metadata, "annotation_types": " ".join(types)}
        )
    starts, listed = 0, []
    for text, part in zip(words(record), parts, strict=True):
        listed += [[item.type, starts + item.begin, starts + item.end, round(item.score, 4)] for item in part]
        starts += len(text) + 2
    return replace(record, metadata={**record.metadata, "annotations": json.dumps(listed)})
