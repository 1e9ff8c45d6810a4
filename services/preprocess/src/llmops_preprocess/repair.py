"""Repair of Unicode that went through a wrong codec or lost half of a pair (ftfy, Speer 2019)."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from llmops_preprocess.record import Record, Stage, keep
from llmops_shared.contracts.exchange import Message

BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
SUSPECT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\u206a-\u206f\ufff9-\ufffc\ufeff]")
"""Controls, halves of pairs, and what else ftfy takes out, each of which may hide what is broken."""
REACH = 8
"""Characters on each side of a sign beyond ASCII that ftfy looks at."""


def repair(records: Sequence[Record]) -> Stage:
    """Every record with its text and turns repaired; drops none."""
    return keep("repair", [repaired(record) for record in records], lambda record: None)


def repaired(record: Record) -> Record:
    """The record with every text of it repaired."""
    messages, rejected = repaired_turns(record.messages), repaired_turns(record.rejected)
    return replace(record, text=repair_text(record.text), messages=messages, rejected=rejected)


def repaired_turns(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The turns with their words repaired."""
    return tuple(message.model_copy(update={"content": repair_text(message.content)}) for message in messages)


def repair_text(text: str) -> str:
    """`schÃ¶n` as `schön`; quotes, ligatures, entities and line ends stay as they are. ASCII cannot be broken."""
    return fixer()(text) if not text.isascii() and may_be_broken(text) else text


def may_be_broken(text: str) -> bool:
    """Whether ftfy can have something to repair: it looks at signs beyond ASCII and a few characters around them.

    What it takes for broken is at most seven characters with one beyond ASCII among them (`ftfy.badness`).
    """
    from ftfy.badness import BADNESS_RE

    if "Ã " in text or "Â " in text or SUSPECT.search(text):
        return True
    return any(BADNESS_RE.search(text, max(0, match.start() - REACH), match.end() + REACH) for match in BEYOND_ASCII.finditer(text))


@functools.cache
def fixer() -> Callable[[str], str]:
    """ftfy with the repairs that undo damage and none that change style."""
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html=False, fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False, fix_line_breaks=False,
        remove_terminal_escapes=False, normalization=None, explain=False,
    )  # fmt: skip
    return lambda text: ftfy.fix_text(text, config)
