"""Maori, Tswana and Tsonga, which py3langid takes for neighbours: told by their small words and by how their words are built.

py3langid 0.4 has no model of the three (its `labels`). The marks are words and sound rules of any grammar of them: a Maori
syllable ends with its vowel and has one of ten consonants; Tswana writes `go` and `tlh` where Sotho has `ho` and Sepedi `š`.
"""

import re

WORD = re.compile(r"[^\W\d_]+")
MAORI_WORD = re.compile(r"(?:(?:ng|wh|[hkmnprtw])?[aeiouāēīōū])+")
MAORI = frozenset((
    "te", "ngā", "nga", "o", "i", "a", "e", "he", "ka", "kua", "me", "mo", "mō", "no", "nō", "na", "nā", "ko", "kei", "hei", "ki", "hoki",
    "tenei", "tēnei", "mai", "atu", "ana", "nei", "ia", "ratou", "rātou", "katoa", "tā", "tō", "ā",
))  # fmt: skip
TSWANA = frozenset((
    "go", "gore", "kwa", "jwa", "fa", "jaaka", "jaanong", "kgotsa", "gago", "gagwe", "ga", "fela", "rona", "nna", "mongwe", "ntse", "ne",
    "mo", "tsa", "jang", "yo", "eo", "ka", "le", "tse", "se", "mme", "nako",
))  # fmt: skip
TSWANA_ALONE = re.compile(r"\b(?:go|gore|kwa|jwa|jaaka|kgotsa|fa|ga|gagwe|tsotlhe|\w*tlh\w*|\w*jw\w*|\w*tshw\w*)\b")
NOT_TSWANA = re.compile(r"[šê]|\b(?:ho|hore|ha|hae|bja|bjo|gomme|goba|yeo|kudu|tseo|hona|oa|ea|joalo)\b")
TSONGA = frozenset((
    "hi", "na", "ku", "ka", "va", "swi", "xi", "leswaku", "leswi", "eka", "ngopfu", "kambe", "naswona", "loko", "ndzi", "lava", "lowu",
    "leyi", "lexi", "nga", "wa", "ya", "swa", "la", "ni", "ri", "a", "u", "mi",
))  # fmt: skip
TSONGA_ALONE = re.compile(
    r"\b(?:hi|leswaku|eka|ngopfu|kambe|naswona|loko|swi\w*|xi\w*|ndz\w+|hinkw\w+|lesw\w+|sw\w{1,2}|\w*dz\w*|\w*tlh?\w*)\b"
)
NOT_TSONGA = re.compile(r"\w*(?:zv|q|hl)\w*|\b(?:kuti|kwa|ukuba|ukuthi|ngoko|gore|go)\b")
NEIGHBOURS = frozenset(("nso", "st", "xh", "zu", "sn", "sw", "rw", "ny", "pcm", "tl", "so", "guw", "ln", "lg"))
"""What py3langid takes Tswana and Tsonga for."""
ADDED = ("mi", "tn", "ts")
"""ISO 639-1 codes of the three."""


def marked(text: str, guess: str) -> str | None:
    """The one of the three that the text is in, where py3langid guesses another; None for none of them."""
    words = WORD.findall(text.lower())
    if len(words) < 3:
        return None
    if share(words, MAORI) >= 0.3 and sum(MAORI_WORD.fullmatch(word) is not None for word in words) >= 0.8 * len(words):
        return "mi"
    if guess not in NEIGHBOURS:
        return None
    lower = " ".join(words)
    if share(words, TSWANA) >= 0.2 and len(TSWANA_ALONE.findall(lower)) > len(NOT_TSWANA.findall(lower)):
        return "tn"
    if share(words, TSONGA) >= 0.2 and len(TSONGA_ALONE.findall(lower)) > len(NOT_TSONGA.findall(lower)):
        return "ts"
    return None


def share(words: list[str], known: frozenset[str]) -> float:
    """Share of the words that are known."""
    return sum(map(known.__contains__, words)) / len(words)
