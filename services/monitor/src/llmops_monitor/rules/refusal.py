"""Whether an answer declines."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from llmops_monitor.rules.texts import Texts, lowered
from llmops_shared.statistics import Floats

OPENING = 300
"""Characters that are looked at for a refusal: models decline at once."""


def words(listed: str) -> frozenset[str]:
    """A set of words, one of which a pattern needs."""
    return frozenset(listed.split())


SORRY = words("sorry apologize apologise apologies unfortunately")
UNABLE = words("cannot can't can not couldn't won't unable decline refuse comfortable")
AI = words("ai artificial language responsible ethical helpful respectful")
WRONG = words("illegal unethical immoral inappropriate unacceptable dangerous harmful prohibited offensive")
NOT = words("not never no don't")
REQUEST = words("request requests question questions prompt instruction")
MUST = words("must have need would want should strongly")
SELF = words("i we i'm we're i've i'll i'd 'i 'we")
"""Who declines says so; most answers speak of no one."""
HARM = words(
    "promote promotes promoting perpetuate perpetuates encourage encourages condone support supports glorify glorifies glorifying engage"
)

# the first signs come before what has to precede them: a pattern that begins with signs is searched several times as fast as one that begins with \b
OF_ONESELF = (
    # I cannot fulfil your request
    (
        UNABLE,
        (
            r"[iw](?<=\b.)(?:(?<=i)|(?<=w)e)(?: am| 'm|'m)? ?(?:just |simply |really |also |still |respectfully |do not and )?"
            r"(?:cannot|can't|can not|could not|couldn't|won't|will not|would not|unable to|not able to|must decline to|have to decline to|"
            r"refuse to|not going to|not comfortable|am unable to|decline to|must refuse|not programmed to|not able or willing)\b"
            r"(?: \w+){0,3}? ?(?:fulfil|fulfill|satisfy|assist|help|provide|give|offer|comply|answer|engage|support|create|generate|write|"
            r"discuss|condone|participate|promote|encourage|endorse|recommend|share|suggest|tell|advise|respond|make|produce|do that|"
            r"comment|access|predict|express|confirm|speculate|play|describe|explain|teach|say|agree|validate|justify|list|be able)"
        ),
        0.8,
    ),
    (
        MUST,
        (
            r"i (?<=\bi )(?:must|have to|need to|would like to|want to|should|strongly|would) (?:\w+ )?(?:inform|remind|advise|emphasi[sz]e|point out|"
            r"clarify|caution|warn|stress|respectfully|decline|discourage|refuse|assure|note)"
        ),
        0.3,
    ),
    (NOT, r"^\W*i (?:do not|don't) (?:think|believe|agree|feel)\b", 0.45),
)
PATTERNS = (
    # I'm sorry, but I can't ...
    (SORRY, r"[sa](?<=\b.)(?:(?<=s)orry|(?<=a)pologi(?:[sz]e|es))\b.{0,60}?\b(?:but|however|can't|cannot|unable|not able)\b", 0.6),
    (SORRY, r"^\W*(?:i'?m |i am |we are |we're )?(?:sorry|unfortunately|apologies|i apologi[sz]e)\b", 0.35),
    (
        AI,
        r"[ai](?<=\b.)(?:(?<=a)s|(?<=i)(?: am|'m)) (?:just |only )?an? (?:ai|artificial|language model|responsible|ethical|helpful,? (?:and )?(?:respectful|harmless))",
        0.2,
    ),
    (
        words("against violate violates contrary line"),
        (
            r"\b(?:against|violates?|contrary to|not in line with)\b.{0,30}"
            r"\b(?:guidelines|polic(?:y|ies)|programming|values|principles|ethical|moral|terms|law)"
        ),
        0.4,
    ),
    (
        NOT,
        r"not (?<=\bnot )(?:appropriate|ethical|acceptable|okay|ok|safe|legal|permissible|right|accurate or ethical|possible|within my)\b",
        0.35,
    ),
    (
        WRONG,
        r"\b(?:is|are|be|highly|both|it's) (?:illegal|unethical|immoral|inappropriate|unacceptable|dangerous|harmful|prohibited|offensive)\b",
        0.35,
    ),
    (NOT, r"it(?<=\bit)(?: is|'s) (?:never|not) (?:okay|ok|acceptable|appropriate|ethical)", 0.4),
    (
        REQUEST,
        (
            r"\b(?:your|this|the|such an?) (?:request|question|prompt|instruction)s? "
            r"(?:is|are|goes|contains?|may|appears?|seems?|involves?|implies|suggests?|assumes?|includes?)\b"
        ),
        0.3,
    ),
    (
        NOT,
        r"do(?<=\bdo)(?:n't| not) (?:have|possess) (?:\w+ )?(?:personal|the ability|access|opinions?|beliefs|feelings|information|preferences|enough)",
        0.45,
    ),
    (words("strongly highly"), r"\b(?:strongly|highly) (?:advise|discourage|condemn|recommend against|urge)", 0.3),
    # declining a premise: "It is not fair to say that ..."
    (NOT, r"^.{0,60}?\b(?:it is|it's|that is|that's|there (?:is|are|were|was)) (?:no|not|never)\b", 0.4),
    (words("important crucial essential"), r"it(?<=\bit)(?:'s| is) (?:\w+ )?(?:important|crucial|essential) (?:to|that)\b", 0.2),
    (
        HARM,
        (
            r"\b(?:promote|promotes|promoting|perpetuates?|encourages?|condone|supports?|glorif\w+|engage in) (?:\w+ ){0,4}"
            r"(?:harm\w*|violen\w+|illegal|discriminat\w+|hate\w*|hurtful|unethical|stereotypes?|offensive|dangerous|damaging)"
        ),
        0.4,
    ),
)


class Pattern(NamedTuple):
    """What makes a refusal likely."""

    finds: Callable[[str], object]
    weight: float
    """How sure it makes of a refusal."""
    of_oneself: bool
    """Searched in texts that speak of themselves only."""


def grouped() -> dict[frozenset[str], list[Pattern]]:
    """Patterns by what they need: a look at the words is ten times as fast as a search, and most patterns need no search."""
    found: dict[frozenset[str], list[Pattern]] = {}
    for listed, of_oneself in ((PATTERNS, False), (OF_ONESELF, True)):
        for needs, pattern, weight in listed:
            compiled = re.compile(pattern, re.DOTALL)
            # search tries a pattern that is bound to the beginning at every place
            finds = compiled.match if pattern.startswith("^") else compiled.search
            found.setdefault(needs, []).append(Pattern(finds, weight, of_oneself))
    return found


GROUPS = grouped()
SPEAKS = 1 << len(GROUPS)
"""The bit of a word of SELF; each group has one of its own below it."""


BITS = {
    word: sum(1 << place for place, needs in enumerate(GROUPS) if word in needs) + SPEAKS * (word in SELF)
    for word in frozenset().union(SELF, *GROUPS)
}


def bits_of(word: str) -> int:
    """Which groups a word is needed by, and whether it is one of SELF."""
    return BITS.get(word, 0)


def refusal(texts: Texts) -> Floats:
    """0 to 1: how sure it is that an answer declines; an empty answer does not."""
    said = np.bitwise_or.reduceat(texts.of_words(bits_of), texts.starts)
    figures = np.zeros(len(texts))
    for place in np.flatnonzero(said & (SPEAKS - 1)).tolist():
        opening, doubt = lowered(texts.contents[place])[:OPENING], 1.0
        for finds, weight in searched(int(said[place])):
            if finds(opening):
                doubt *= 1 - weight
        figures[place] = 1 - doubt
    return figures


@lru_cache(maxsize=4096)
def searched(said: int) -> list[tuple[Callable[[str], object], float]]:
    """The patterns for a text whose words have these bits."""
    return [
        (pattern.finds, pattern.weight)
        for place, patterns in enumerate(GROUPS.values())
        if said >> place & 1
        for pattern in patterns
        if said & SPEAKS or not pattern.of_oneself
    ]
