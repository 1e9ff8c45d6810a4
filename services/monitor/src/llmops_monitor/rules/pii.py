"""Personal data and secrets in a text: found, counted by kind, masked."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from llmops_monitor.rules.texts import Bools, Texts
from llmops_monitor.rules.vocabulary import Ints
from llmops_shared.statistics import Floats

SECRET_CUE = r"(?:pass(?:word|wd|phrase|code)|secret|token|api[_ -]?key|access[_ -]?key|client[_ -]?secret|private[_ -]?key|pin|pwd|auth(?:orization)?)"
NAME = r"[A-ZÀ-ÖØ-Þ][\w'’-]+(?: (?:[A-Z]\.|van|von|de|der|den|la|le|bin|al|da|dos|O'|Mc)?\s?[A-ZÀ-ÖØ-Þ][\w'’-]+){0,3}"
STREET = r"(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|place|pl|square|sq|way|terrace|highway|hwy|parkway|apt|apartment|suite|unit|p\.?o\.? box|strasse|straße|platz|weg|rue|via|calle|avenida|gatan|vej|katu)"


def luhn(text: str) -> bool:
    """The check digit of cards and IMEIs (ISO/IEC 7812)."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return len(digits) >= 12 and sum(doubled) % 10 == 0


def iban(text: str) -> bool:
    """The check digits of a bank account (ISO 13616)."""
    plain = re.sub(r"[\s-]", "", text).upper()
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def address(text: str) -> bool:
    """Four numbers up to 255 that are no version: the first is above 0."""
    return all(int(part) < 256 for part in text.split(".")) and not text.startswith("0")


class Kind(NamedTuple):
    """One kind of personal data."""

    name: str
    needs: str
    """Words, one of which a text with this kind has; or a sign it has; as many `0` as it has digits at least. Empty: it has to be searched."""
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] | None = None
    """A check beyond the pattern."""


def kind(name: str, needs: str, pattern: str, holds: Callable[[str], bool] | None = None, flags: int = 0) -> Kind:
    """A kind; a group named `value` is what is masked, else all of the match."""
    return Kind(name, needs, re.compile(pattern, flags), holds)


ANY_CASE = re.IGNORECASE
# in this order: what an earlier kind has taken, a later one does not see
KINDS = (
    kind("private_key", "-----BEGIN", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", flags=re.DOTALL),
    kind("jwt", "eyJ", r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    kind("aws_key", "0", r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,}\b"),
    kind(
        "service_token", "0",
        r"\b(?:sk|pk|rk|ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs]|hf|npm|pypi|AIza|ya29|SG|shpat|dop_v1)[-_.]?[A-Za-z0-9_-]{16,}",
    ),
    kind("connection_string", "://", r"\b[a-z][a-z0-9+.-]*://[^\s:/@]+:(?P<value>[^\s@]+)@", flags=ANY_CASE),
    kind(
        "secret", "password passwd passphrase passcode secret token key api_key apikey access_key pin pwd auth authorization",
        rf"\b(?:\w+[_-])?{SECRET_CUE}s?\b\s*(?:is|was|:|=|：|are)\s*[\"'`]?(?P<value>[^\s\"'`,;]{{4,}})", flags=ANY_CASE,
    ),
    kind("email", "@", r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+"),
    kind("email", "(at", r"[\w.+-]+\s?\(at\)\s?[\w-]+(?:(?:\.|\s?\(dot\)\s?)[\w-]+)+", flags=ANY_CASE),
    kind("iban", "0", r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{2,4}){3,8}\b", iban),
    kind("crypto_address", "0", r"\b(?:bc1[a-z0-9]{25,62}|0x[a-fA-F0-9]{40}|[13][1-9A-HJ-NP-Za-km-z]{26,34})\b"),
    kind("card", "0" * 13, r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])", luhn),
    kind("mac_address", "0", r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"),
    kind("ip_address", "0", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", address),
    kind("ip_address", "0", r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){3,7}(?::?[0-9A-Fa-f]{1,4}){1,5}(?![\w:])"),
    kind("social_security", "0" * 9, r"(?<![\d-])\d{3}[- ]\d{2}[- ]\d{4}(?![\d-])"),
    kind("coordinates", "0" * 10, r"(?<![\d.])-?\d{1,2}\.\d{4,}\s*°?\s*[NS]?,\s*-?\d{1,3}\.\d{4,}"),
    kind(
        "date_of_birth", "born birth birthday birthdate dob",
        r"\b(?:born|birth\w*|dob|d\.o\.b\.?)\b[^\d\n]{0,20}?(?P<value>\d{1,4}[-/. ](?:\d{1,2}|[A-Z][a-z]+)[-/., ]+\d{1,4}|"
        r"[A-Z][a-z]+ \d{1,2},? \d{4}|\d{1,2} [A-Z][a-z]+ \d{4})", flags=ANY_CASE,
    ),
    kind("phone", "0", r"(?<![\w.])(?:\+|00)\d{1,3}[\s.-]?(?:\(?\d{1,4}\)?[\s.-]?){2,5}\d{2,4}(?![\w.])"),
    kind(
        "phone", "0",
        r"(?<![\w.-])(?:\(\d{2,5}\)|\d{3,5})[\s./-]?\d{2,4}[\s.-]\d{3,5}(?:\s?x\s?\d+)?(?![\w.-])|"
        r"(?<![\w.-])0\d{1,4}(?:[ .-]\d{2,4}){1,4}(?![\w.-])|(?<![\w.-])(?:\d\d[.-]){3,4}\d\d(?![\w.-])",
    ),
    kind(
        "phone", "phone telephone tel mobile cell fax office desk call calls messages contact",
        r"\b(?:(?:tele|cell)?phone|tel|mobile|cell|fax|office|desk|call(?:s|ing)?(?: me)?(?: on| at)?|messages to|contact)\b[^\d\n]{0,15}\n?"
        r"(?P<value>\(?\d[\d() .-]{4,16}\d)", flags=ANY_CASE,
    ),
    kind(
        "document_number",
        "passport license licence driver's drivers national id identity insurance nhs tax ssn account acct routing vin plate registration mrn patient member card sort",
        r"\b(?:passport|licen[cs]e|driver'?s|national id|id|identity|insurance|nhs|tax|ssn|account|acct|routing|vin|plate|registration|"
        r"medical record|mrn|patient|member|card|sort code)\b(?: (?:card|number|no|id|code|plate|record|licen[cs]e|is|nr))*\.?\s*(?:#|:|is|=|：)?\s*"
        r"(?P<value>(?=[A-Z0-9-]*\d)[A-Z0-9][A-Z0-9-]{4,20})\b", flags=ANY_CASE,
    ),
    kind(
        "street_address", "0",
        rf"\b\d{{1,5}}[a-z]?,? (?:[\w.'’-]+ ){{0,4}}?{STREET}\b\.?(?:[ ,\n]+(?:apt|apartment|suite|unit|floor|#)\.? ?\w+)?", flags=ANY_CASE,
    ),
    kind(
        "street_address", "strasse straße platz weg rue calle avenida gatan vej katu box",
        r"\b(?:\w*stra(?:ss|ß)e|\w*platz|\w*weg|rue|calle|avenida|\w*gatan|\w*vej|\w*katu|p\.?o\.? box)\b[\w '-]{0,30}?\d{1,5}\b", flags=ANY_CASE,
    ),
    kind(
        "person", "mr mrs ms miss dr prof professor sir madam frau herr mme monsieur señor señora",
        rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Sir|Madam|Frau|Herr|Mme|Monsieur|Señora?)\.? (?P<value>{NAME})",
    ),
    kind("person", "ame is", rf"[Nn]ame is\s+(?P<value>{NAME})"),
    kind("person", "ame:", rf"[Nn]ame:\s+(?P<value>{NAME})"),
    kind("person", "all me", rf"[Cc]all me\s+(?P<value>{NAME})"),
    kind(
        "person",
        "signed regards sincerely dear i'm",
        rf"\b(?:[Ss]igned,?|[Rr]egards,?|[Ss]incerely,?|[Dd]ear|I'm)\s+(?P<value>{NAME})",
    ),
)  # fmt: skip
MASKED_TOO = (
    kind(
        "person", "", r"(?<=[a-z,;:] )(?P<value>[A-Z][a-zà-ÿ'’-]+ (?:[A-Z]\. )?[A-Z][a-zà-ÿ'’-]+)\b(?! (?:Library|University|Street|API))"
    ),
    kind("street_address", "", rf"\b{STREET}\.? ?\d{{1,5}}\b(?:,? ?\w+)?", flags=ANY_CASE),
)
"""Two capitalised words within a sentence, a name or a title, and words like `way 5`: for masking, where too much is better."""

DIGIT = re.compile(r"\d")
RUN_OF_DIGITS = re.compile(r"\d(?:[ ().:/-]{0,2}\d){6}|\d\.\d{1,3}\.\d|\d\.\d{4}|\d[0-9A-Fa-f]?:[0-9A-Fa-f]{1,4}:|\d\d[A-Z0-9]{4}")
ADDRESS_WORDS = frozenset(STREET[3:-1].split("|"))
BY_SIGN = tuple(known for known in KINDS if known.needs in ("@", "(at", "://", "eyJ", "-----BEGIN", "ame is", "ame:", "all me"))
BY_NUMBER = tuple(known for known in KINDS if known.needs.startswith("0"))
BY_WORD = tuple((frozenset(known.needs.split()), known) for known in KINDS if known not in BY_SIGN and known not in BY_NUMBER)
WITH_DIGIT = frozenset({"phone", "document_number", "date_of_birth", "street_address"})
LONG = 15
"""Letters; a key may have a single digit, and is a longer word than that."""


class Found(NamedTuple):
    """A piece of personal data."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """All pieces in order, doubtful ones included."""
    return search(text, (*KINDS, *MASKED_TOO))


def search(text: str, kinds: Iterable[Kind]) -> list[Found]:
    """The pieces of these kinds, in order of their place; a piece belongs to the first kind that has it."""
    taken: list[Found] = []
    for known in kinds:
        for match in known.pattern.finditer(text):
            start, end = match.span("value" if "value" in known.pattern.groupindex else 0)
            if any(start < other.end and other.start < end for other in taken):
                continue
            if known.holds is None or known.holds(text[start:end]):
                taken.append(Found(known.name, start, end))
    return sorted(taken, key=lambda found: found.start)


def pii(texts: Texts) -> Floats:
    """Pieces of personal data and secrets in an answer; a name counts where a word beside it says that it is one."""
    kinds: dict[int, list[Kind]] = defaultdict(list)
    for known, are_candidates in candidates(texts):
        for place in np.flatnonzero(are_candidates).tolist():
            kinds[place].append(known)
    figures = np.zeros(len(texts))
    for place, listed in kinds.items():
        figures[place] = len(search(texts.contents[place], listed))
    return figures


def candidates(texts: Texts) -> Iterator[tuple[Kind, Bools]]:
    """Each kind, and which texts may hold it by signs and words that are quick to look for: few."""
    num_digits = digits_of_any_script(texts)
    for known in BY_SIGN:
        yield known, texts.has(known.needs)
    for words, known in BY_WORD:
        found = texts.has_word(words.__contains__)
        yield known, found & (num_digits > 0) if known.name in WITH_DIGIT else found
    numbers = texts.has_word(is_long) & (texts.num_digits > 0)
    # an address of the internet has four digits at least
    for place in np.flatnonzero((texts.num_digits >= 4) & ~numbers).tolist():
        numbers[place] = RUN_OF_DIGITS.search(texts.contents[place]) is not None
    streets = texts.has_word(ADDRESS_WORDS.__contains__) & (texts.num_digits > 0)
    for known in BY_NUMBER:
        yield known, (numbers & (num_digits >= len(known.needs))) | (streets if known.name == "street_address" else False)


def digits_of_any_script(texts: Texts) -> Ints:
    """How many digits each text has [num_texts]."""
    counts = texts.num_digits.copy()
    for place in texts.beyond_ascii:
        counts[place] = len(DIGIT.findall(texts.contents[place]))
    return counts


def is_long(word: str) -> bool:
    """Whether a word may be a key."""
    return len(word) > LONG
