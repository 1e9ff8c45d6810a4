"""Language filter."""

import functools
import re
from collections.abc import Iterator, Sequence

from llmops_preprocess.config import Language
from llmops_preprocess.identify import identifier, probabilities
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

    texts = [prose(record) for record in records]
    long = [number for number, text in enumerate(texts) if not too_short(text, config.min_letters)]
    found = dict(zip(long, share_of([texts[number] for number in long], config.code), strict=True))
    shares = {id(record): found.get(number, 1.0) for number, record in enumerate(records)}
    return keep("language", records, lambda record: "other_language" if shares[id(record)] < config.min_probability else None)


def too_short(text: str, min_letters: int) -> bool:
    """Whether it has too few letters to tell, all of them ASCII."""
    if enough(min_letters).match(text):
        return False
    letters = LETTERS.findall(text)
    return len(letters) < min_letters and all(map(str.isascii, letters))


@functools.cache
def enough(min_letters: int) -> re.Pattern[str]:
    """Matches the start of a text that has so many letters of ASCII: most texts tell after a line."""
    return re.compile(rf"(?:[^A-Za-z]*+[A-Za-z]){{{min_letters}}}")


def share_of(texts: Sequence[str], code: str) -> Iterator[float]:
    """How likely each text is in the language."""
    labels, all_shares = identifier().nb_classes, probabilities(texts)
    for text, shares in zip(texts, all_shares, strict=True):
        best = int(shares.argmax())
        added = marked(text, labels[best])
        if added == code:
            yield MARKED_PROBABILITY
        else:
            # a text that is marked as another is not in this one, and only a marked text is in one of the added
            yield 0.0 if added is not None or code in ADDED else float(shares[labels.index(code)])


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
