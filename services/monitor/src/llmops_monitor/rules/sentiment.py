"""Whether a text is kind or unkind, by VADER's hand-rated lexicon (Hutto and Gilbert 2014)."""

import functools
import math
from importlib.resources import files
from itertools import compress, count

from llmops_monitor.rules.words import Words

NEGATIONS = frozenset(
    "not no never none nobody nothing neither nor nowhere cannot cant can't won't wont don't dont doesn't didn't isn't isnt aren't "
    "wasn't weren't without hardly barely rarely seldom couldn't shouldn't wouldn't hasn't haven't hadn't ain't lacks lack".split()
)
BOOSTERS = {
    **dict.fromkeys(
        "very really so extremely absolutely completely incredibly totally highly too most more such truly utterly".split(), 0.293
    ),
    **dict.fromkeys("somewhat slightly kind partly little less almost barely marginally".split(), -0.293),
}
NEGATED = -0.74
"""What a negation within three words makes of a valence; a figure of the paper."""


@functools.cache
def lexicon() -> dict[str, float]:
    """Word to valence, -4 to 4: the mean of ten raters."""
    text = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8")
    return {fields[0]: float(fields[1]) for line in text.splitlines() if len(fields := line.split("\t")) > 1}


@functools.cache
def known_words() -> frozenset[str]:
    """The words of the lexicon: two sets intersect faster than a set and a mapping."""
    return frozenset(lexicon())


def sentiment(text: Words) -> float:
    """-1 (unkind) to 1 (kind); 0 where no word of the lexicon occurs."""
    hits = text.distinct & known_words()
    if not hits:
        return 0.0
    known, words = lexicon(), text.words
    turn = words.index("but") if "but" in text.distinct else -1
    total = 0.0
    for place in compress(count(), map(hits.__contains__, words)):
        valence = known[words[place]]
        before = words[max(0, place - 3) : place]
        if before and before[-1] in BOOSTERS:
            valence += math.copysign(BOOSTERS[before[-1]], valence)
        if not NEGATIONS.isdisjoint(before):
            valence *= NEGATED
        # what comes after "but" is what is meant; weights of the paper
        total += valence if turn < 0 else valence * (1.5 if place > turn else 0.5)
    return total / math.sqrt(total * total + 15)
