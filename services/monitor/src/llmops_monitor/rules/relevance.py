"""Whether an answer speaks of what was asked and of what was retrieved, by the words they share."""

import re

from llmops_monitor.rules.words import Words

COMMON = frozenset(
    "a about all also an and any are as at be been being but by can could did do does each for from get give had has have he her his how i if in "
    "into is it its just like made make many may me more most much my no not of on one only or other our out over please same she should so some "
    "such than that the their them then there these they this those to two up use used very was we well were what when where which while who why "
    "will with would write you your yes answer question tell show list name explain following according".split()
)
ENDING = re.compile(r"(?:'s|ies|ing|ed|es|ly|s)$")


class Stems(dict[str, str]):
    """A word without its ending, found once; nothing of a word that carries no meaning."""

    MAX_WORDS = 200_000

    def __missing__(self, word: str) -> str:
        stem = "" if word in COMMON else ENDING.sub("", word) if len(word) > 4 else word
        if len(self) < self.MAX_WORDS:
            self[word] = stem
        return stem


STEMS = Stems()


def content_words(text: Words) -> set[str]:
    """Stems of the words that carry meaning."""
    stems = set(map(STEMS.__getitem__, text.distinct))
    stems.discard("")
    return stems


def share_found(wanted: set[str], found: set[str]) -> float:
    """Share of `wanted`, which is not empty, in `found`."""
    return len(wanted & found) / len(wanted)


def relevance_to_prompt(prompt: Words, response: Words) -> float:
    """Share of the prompt's content words that the answer takes up, 0 to 1."""
    wanted = content_words(prompt)
    return share_found(wanted, content_words(response)) if wanted else 0.0


def relevance_of_context(prompt: Words, context: Words) -> float:
    """Share of the prompt's content words in what was retrieved for it, 0 to 1."""
    wanted = content_words(prompt)
    return share_found(wanted, content_words(context)) if wanted else 0.0


def groundedness(response: Words, context: Words) -> float:
    """Share of the answer's content words that the retrieved text has, 0 to 1; 1 for an answer without any."""
    wanted = content_words(response)
    return share_found(wanted, content_words(context)) if wanted else 1.0


# the sign comes before what has to precede it: a pattern that begins with a set of signs is searched several times as fast
NUMBER_OR_NAME = re.compile(r"[\dA-Z](?:(?<=\d)|(?<=[a-z,;] [A-Z]))[\w.,'-]*\w")
IN_ASCII = re.compile(NUMBER_OR_NAME.pattern, re.ASCII)


def unsupported_specifics(prompt: Words, response: Words, context: Words | None) -> float:
    """Share of the answer's numbers and names that neither prompt nor retrieved text has, 0 to 1; 0 for an answer without any.

    Made-up facts are mostly specific; so are true ones that were not asked for, so this is a weak sign by itself.
    """
    pattern = IN_ASCII if response.content.isascii() else NUMBER_OR_NAME
    specifics = set(pattern.findall(response.content))
    if not specifics:
        return 0.0
    given = prompt.content if context is None else f"{prompt.content}\n{context.content}"
    return sum(specific not in given for specific in specifics) / len(specifics)
