"""Language filter."""

import functools
import re
from collections.abc import Sequence
from typing import Any

from llmops_preprocess.config import Language
from llmops_preprocess.language_marks import ADDED, marked
from llmops_preprocess.record import Record, Stage, keep
from llmops_shared.errors import LlmopsError

# the identifier's features are counts of byte sequences: more text than this changes nothing but the time it takes
MAX_CHARACTERS = 1000
MARKED_PROBABILITY = 0.9
"""Of a language that is told by its marks: the share that was right of labelled sentences."""
LETTERS = re.compile(r"[^\W\d_]")


def filter_language(records: Sequence[Record], config: Language) -> Stage:
    """Drops as `other_language` what is unlikely to be in the language wanted. Raises LlmopsError for an unknown code."""
    if config.code is None:
        return keep("language", records, lambda record: None)
    if config.code not in languages():
        raise LlmopsError(f"language.code {config.code}: not a language py3langid knows ({', '.join(sorted(languages()))})")

    def reason(record: Record) -> str | None:
        text = prose(record)
        letters = LETTERS.findall(text)
        if len(letters) < config.min_letters and all(map(str.isascii, letters)):
            return None
        best, probability = identify(text)
        if best != config.code:
            # a text that is marked as another is not in this one, and only a marked text is in one of the added
            probability = 0.0 if {best, config.code} & set(ADDED) else dict(identifier().rank(text))[config.code]
        return "other_language" if probability < config.min_probability else None

    return keep("language", records, reason)


def prose(record: Record) -> str:
    """What is written for people: of a library entry the docstring, for names look like no language."""
    text = record.definition.docstring if record.definition else record.text
    return text[:MAX_CHARACTERS]


def identify(text: str) -> tuple[str, float]:
    """The likeliest language of a text and its probability."""
    guess, probability = identifier().classify(text)
    added = marked(text, guess)
    return (guess, float(probability)) if added is None else (added, MARKED_PROBABILITY)


def languages() -> set[str]:
    """Codes of the languages that can be told."""
    return {*identifier().labels, *ADDED}


@functools.cache
def identifier() -> Any:
    """py3langid's identifier with probabilities that sum to 1; it takes a second to load."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
