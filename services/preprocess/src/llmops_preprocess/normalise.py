"""Normalised text: one form for what looks the same."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from llmops_preprocess.record import Record, Stage, keep
from llmops_shared.contracts.exchange import Message

# controls without a meaning in text, byte order marks, zero-width signs that hide differences; not the joiners of Indic and Arabic script
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\u200b\u2060]")
CONTROLS = bytes([*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
TRAILING_SPACE = re.compile(r"[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")


def normalise_text(text: str) -> str:
    """NFC, `\\n` line ends, no control characters, no space at line ends, at most one blank line in a row."""
    text = unicodedata.normalize("NFC", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = without_invisible(text)
    # to look for a few characters costs less than to search
    if " \n" in text or "\t\n" in text:
        text = TRAILING_SPACE.sub("", text)
    text = text.rstrip(" \t")
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.strip()


def without_invisible(text: str) -> str:
    """The text without signs that nobody sees."""
    if text.isascii():
        plain = text.encode()
        kept = plain.translate(None, CONTROLS)
        return text if len(kept) == len(plain) else kept.decode()
    return INVISIBLE.sub("", text)


def normalise(records: Sequence[Record]) -> Stage:
    """Every record with normalised text; those left without, or with a turn that says nothing, are dropped as `empty`."""
    return keep("normalise", [normalised(record) for record in records], lambda record: "empty" if is_empty(record) else None)


def is_empty(record: Record) -> bool:
    """Whether there is nothing to read, or nothing in one of the turns."""
    return not record.text or not all(message.content for message in (*record.messages, *record.rejected))


def normalised(record: Record) -> Record:
    """The record with its text, its facts and its turns in normal form."""
    definition = record.definition
    if definition is not None:
        definition = replace(definition, docstring=normalise_text(definition.docstring))
    messages, rejected = normalised_turns(record.messages), normalised_turns(record.rejected)
    return replace(record, text=normalise_text(record.text), definition=definition, messages=messages, rejected=rejected)


def normalised_turns(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns with their words in normal form."""
    return tuple(message.model_copy(update={"content": normalise_text(message.content)}) for message in messages)
