"""Whether an answer speaks of what was asked and of what was retrieved, by the words they share."""

import re

import numpy as np

from llmops_monitor.rules.texts import Texts, each_once
from llmops_monitor.rules.vocabulary import Ints
from llmops_shared.statistics import Floats

COMMON = frozenset(
    "a about all also an and any are as at be been being but by can could did do does each for from get give had has have he her his how i if in "
    "into is it its just like made make many may me more most much my no not of on one only or other our out over please same she should so some "
    "such than that the their them then there these they this those to two up use used very was we well were what when where which while who why "
    "will with would write you your yes answer question tell show list name explain following according".split()
)
ENDING = re.compile(r"(?:'s|ies|ing|ed|es|ly|s)$")


def stem(word: str) -> str:
    """A word without its ending; nothing of a word that carries no meaning."""
    return "" if word in COMMON else ENDING.sub("", word) if len(word) > 4 else word


def content_words(texts: Texts) -> Ints:
    """Each text's stems of words that carry meaning, each once: the place of the text in the upper 32 bits, the stem's number below."""
    stems = texts.made_of_words(stem)
    at = np.flatnonzero(stems)
    return each_once(texts.owners[at] << 32 | stems[at])


def share_found(wanted: Texts, found: Texts, if_none: float) -> Floats:
    """Share of the content words of one column that the other has, text by text."""
    asked = content_words(wanted)
    common = asked[np.isin(asked, content_words(found), assume_unique=True)]
    num_asked, num_common = (np.bincount(words >> 32, minlength=len(wanted)) for words in (asked, common))
    shares: Floats = np.where(num_asked > 0, num_common / np.maximum(1, num_asked), if_none)
    return shares


def relevance_to_prompt(prompts: Texts, responses: Texts) -> Floats:
    """Share of the prompt's content words that the answer takes up, 0 to 1."""
    return share_found(prompts, responses, 0.0)


def relevance_of_context(prompts: Texts, contexts: Texts) -> Floats:
    """Share of the prompt's content words in what was retrieved for it, 0 to 1."""
    return share_found(prompts, contexts, 0.0)


def groundedness(responses: Texts, contexts: Texts) -> Floats:
    """Share of the answer's content words that the retrieved text has, 0 to 1; 1 for an answer without any."""
    return share_found(responses, contexts, 1.0)


# the sign comes before what has to precede it: a pattern that begins with a set of signs is searched several times as fast
NUMBER_OR_NAME = re.compile(r"[\dA-Z](?:(?<=\d)|(?<=[a-z,;] [A-Z]))[\w.,'-]*\w")
IN_ASCII = re.compile(NUMBER_OR_NAME.pattern, re.ASCII)


def unsupported_specifics(prompts: Texts, responses: Texts, contexts: Texts) -> Floats:
    """Share of the answer's numbers and names that neither prompt nor retrieved text has, 0 to 1; 0 for an answer without any.

    Made-up facts are mostly specific; so are true ones that were not asked for, so this is a weak sign by itself.
    """
    figures = np.zeros(len(responses))
    for place, content in enumerate(responses.contents):
        specifics = set((IN_ASCII if content.isascii() else NUMBER_OR_NAME).findall(content))
        if specifics:
            given = f"{prompts.contents[place]}\n{contexts.contents[place]}"
            figures[place] = sum(specific not in given for specific in specifics) / len(specifics)
    return figures
