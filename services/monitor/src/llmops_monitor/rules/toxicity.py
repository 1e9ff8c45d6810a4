"""Whether a text insults, threatens, or is hostile to a group of people."""

import functools
import math
import re

import numpy as np

from llmops_monitor.rules.sentiment import NEGATIONS, lexicon
from llmops_monitor.rules.texts import END, Bools, Text, Texts
from llmops_shared.statistics import Floats

HARSH = -1.6
"""Words of VADER's lexicon at or below this valence count: insults and violence, and most swear words are among them."""

GROUPS = frozenset(
    name + ending
    for name in (
        "women woman female girl gay lesbian trans transgender queer disabled muslim islam jew jewish black white asian african arab "
        "mexican immigrant migrant refugee foreigner christian hindu latino hispanic homosexual elderly men lib liberal conservative feminist "
        "democrat republican"
    ).split()
    for ending in ("", "s")
)
"""Plain names of groups: alone they are no sign of anything."""
HOSTILE = re.compile(
    r"\b(?:scum|vermin|parasites?|cockroach(?:es)?|filth|trash|garbage|dirt|plague|cancer|disease|animals|subhuman|sub-human|rats?|pigs?|monkeys?|"
    r"lesser beings?|worthless|worth (?:absolutely )?nothing|inferior|despicable|repugnant|disgust\w*|vile|hate|hates|loathe|despise|detest|"
    r"can'?t stand|cannot stand|sick of|fed up|angry|kill\w*|die|death|dead|hang\w*|shoot|shot|stab\w*|beat|burn\w*|tortur\w*|execut\w+|"
    r"murder\w*|exterminat\w+|wip\w+ out|get rid|put an end|suffer|punish\w*|gas\w*|hurt|smack|snap|deport\w*|ruin\w*|zoo|"
    r"stupid|dumb|idiots?|evil|ugly|immoral|dishonest|uncivili[sz]ed|primitive|criminals?|terrorists?|thie(?:f|ves)|threat|"
    r"deserve|nothing worse|not (?:be )?human|no (?:respect|compassion|rights?)|not matter|not welcome|belong in|your kind|their kind|like you)\b"
)
DEFENCE = re.compile(
    r"\"|“|''|\b(?:do not|don'?t|never|nobody should|no one should|must not|should not|shouldn't|stop|saying|calling|call(?:ed)? me|anyone who|"
    r"people who say|you can'?t|unacceptable|bigot\w*|racis[mt]\w*|sexis[mt]\w*|hate speech|tolerate|love|proud|great|wonderful|respect)\b"
)
"""Quoting, forbidding and praising: most of what is said against hatred has its words in it."""
REPORTED = re.compile(r"[\"“].{4,}[\"”]|\b(?:saying|calling|call(?:ed)? me|messages? like|say things like)\b")
SPOKEN_TO = frozenset("you your you're youre u ur yourself".split())


@functools.cache
def harsh() -> dict[str, float]:
    """Word to how harsh it is, 0 to 1."""
    known = {word: min(1.0, -valence / 3.5) for word, valence in lexicon().items() if valence <= HARSH and word.isalpha()}
    # the lexicon lists the base of many swear words only
    for word, weight in list(known.items()):
        for ending in ("ing", "in", "er", "ers", "ed", "s", "y", "hole", "holes"):
            known.setdefault(word + ending, weight)
    return known


@functools.cache
def harsh_words() -> frozenset[str]:
    """The harsh words alone."""
    return frozenset(harsh())


def toxicity(texts: Texts) -> Floats:
    """0 to 1. Harsh words add up, more so when aimed at the reader; a group beside hostile words counts unless it is defended."""
    evading = may_evade(texts)
    noted = texts.has_word(noted_words().__contains__) | (texts.count_at(texts.find_signs(VEILS.encode())) > 0)
    return texts.look_at(noted & ~evading, toxicity_of) + texts.look_at(evading, lambda text: toxicity_of(as_meant(text)))


def toxicity_of(text: Text) -> float:
    """The figure of one text."""
    total = harshness(text)
    if not GROUPS.isdisjoint(text.distinct):
        hostile = len(HOSTILE.findall(text.lower))
        total += 0.5 * hostile + 0.5 * (hostile > 0)
        if total and DEFENCE.search(text.lower):
            total *= 0.35
    elif total and reports(text.lower):
        total *= 0.5
    return total / math.sqrt(total * total + 2)


def harshness(text: Text) -> float:
    """The weights of a text's harsh words, those with signs for letters included."""
    known, words = harsh(), text.words
    total = 0.0
    for word in sorted(text.distinct & harsh_words()):  # the order of a set differs between processes, and with it a sum's last bit
        place = words.index(word)
        denied = not NEGATIONS.isdisjoint(words[max(0, place - 3) : place])
        total += known[word] * (0.3 if denied else 1.0)
    if total and not SPOKEN_TO.isdisjoint(text.distinct):
        total *= 1.25
    if any(sign in text.content for sign in VEILS):
        total += 0.8 * sum(unveiled(word, known) for word in text.distinct if VEILED.search(word))
    return total


LONE_LETTERS = frozenset("bcdefghjklmnopqrstuvwxyz")
DIGIT_IN_WORD = re.compile(r"[0134](?<=[a-z].)(?=[a-z])")
DIGITS = str.maketrans("0134", "oiea")
SPACED = re.compile(r"\b(?:[a-z] ){2,}[a-z]\b")
VEILS = "*@$"
VEILED = re.compile(r"[a-z][*@$]|[*@$][a-z]")


@functools.cache
def noted_words() -> frozenset[str]:
    """A text without any of these and without signs for letters scores nothing."""
    return harsh_words() | GROUPS


LETTER = np.array([chr(code).isalpha() or 0x80 <= code < END[0] for code in range(256)])
"""Bytes of letters, and to be sure all beyond ASCII."""


def may_evade(texts: Texts) -> Bools:
    """Which texts may have digits for letters, or letters set apart."""
    digits = texts.find_signs(b"0134")
    within = digits[LETTER[texts.signs[digits - 1]] & LETTER[texts.signs[digits + 1]]]
    return texts.has_word(LONE_LETTERS.__contains__) | (texts.count_at(within) > 0)


def as_meant(text: Text) -> Text:
    """The text, or where digits stand for letters or letters are set apart, what it says."""
    if DIGIT_IN_WORD.search(text.lower) or (not LONE_LETTERS.isdisjoint(text.distinct) and SPACED.search(text.lower)):
        return Text(plain(text.lower))
    return text


def reports(lower: str) -> bool:
    """Whether a text says what others say; the literals of the pattern are found many times as fast as the pattern."""
    signs = '"' in lower or "“" in lower or "saying" in lower or "call" in lower or "message" in lower or "say things" in lower
    return signs and REPORTED.search(lower) is not None


def plain(text: str) -> str:
    """Digits that stand for letters and letters set apart, as they are meant."""
    letters = " ".join(word.translate(DIGITS) if not word.isdigit() else word for word in text.split(" "))
    return SPACED.sub(lambda found: found[0].replace(" ", ""), letters)


SIGNS = str.maketrans({"@": "a", "$": "s", "*": "."})


def unveiled(word: str, known: dict[str, float]) -> bool:
    """Whether a word with signs for letters is a harsh one: `f***`, `$tupid`."""
    pattern = word.strip("*'").translate(SIGNS) if not word.endswith("*") else word.lstrip("*'").translate(SIGNS)
    if "." not in pattern:
        return pattern in known
    if not 3 <= len(pattern) <= 14 or not pattern[0].isalpha():
        return False
    return matches_any(pattern)


@functools.lru_cache(maxsize=4096)
def matches_any(pattern: str) -> bool:
    """Whether a harsh word of the same length fits letters and dots."""
    fits = re.compile(re.sub(r"[^\w.]", "", pattern)).fullmatch
    return any(fits(word) for word in harsh())
