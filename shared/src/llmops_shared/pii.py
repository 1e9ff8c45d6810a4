"""Personal data and keys found by rules, and masked: one set for datasets, for what the server keeps, and for its guard.

Kinds carry Amazon Comprehend's names, so that its finds and these are one kind of thing. Names of people need a model.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from llmops_shared.pii_search import addresses_v6, emails, numbers, shape_of

PiiKind = Literal[
    "EMAIL", "PHONE", "IP_ADDRESS", "CREDIT_DEBIT_NUMBER", "INTERNATIONAL_BANK_ACCOUNT_NUMBER", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "SSN"
]
KINDS: tuple[PiiKind, ...] = (
    "EMAIL", "PHONE", "IP_ADDRESS", "CREDIT_DEBIT_NUMBER", "INTERNATIONAL_BANK_ACCOUNT_NUMBER", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "SSN",
)  # fmt: skip

IP_V4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
IP_V4_MIDDLE = re.compile(r"\.\d{1,3}\.\d")
IBAN_OPENING = re.compile(r"\d\d(?<=[A-Za-z]{2}\d\d)(?<![A-Za-z0-9][A-Za-z]{2}\d\d)")
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,4})?(?![A-Za-z0-9])")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, "Unique identifiers"
AWS_ACCESS_KEY = re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])")
AWS_SECRET_KEY = re.compile(r"(?i:secret[\w ]{0,20}?[\"']?\s*[:=]\s*[\"']?)([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")
DIGIT = re.compile(r"\d")
DIGITS = re.compile(r"\d+")
PHONE_CUE = re.compile(
    r"(?i)\b(?:tel|phone|telephone|mobile|cell|fax|office|desk|call|dial|sms|text|whatsapp)\b[^\w\n]*\n?[^\w\n]*(?:\w+[^\w\n]+){0,3}$"
)
PHONE_LABEL = re.compile(r"(?i)^[\s,\\-]{0,3}(?:mobile|office|fax|home|cell|desk|work)\b")
GROUPED = re.compile(r"(?:\+|00)|\(|\d[ .-]\d")
DATE = re.compile(r"(?:19|20)\d\d[-. ]\d\d?[-. ]\d\d?|\d\d?[-. ]\d\d?[-. ](?:19|20)\d\d|(?:19|20)\d\d ?- ?(?:19|20)\d\d")
SSN = re.compile(r"(?!000|666|9)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}")


class Found(NamedTuple):
    """A stretch of a text."""

    kind: PiiKind
    begin: int
    """First character."""
    end: int
    """First character after it."""
    score: float
    """How sure the rule is; 1 for one with a checksum."""


def find(text: str, kinds: Sequence[PiiKind] = KINDS) -> list[Found]:
    """What the rules find, in order of the text, none over another: the surest of those that overlap, the longer of equally sure ones."""
    wanted = [item for item in candidates(text) if item.kind in kinds]
    if len(wanted) < 2:
        return wanted
    kept: list[Found] = []
    for item in sorted(wanted, key=lambda item: (-item.score, item.begin - item.end, item.begin, item.kind)):
        if all(item.end <= other.begin or other.end <= item.begin for other in kept):
            kept.append(item)
    return sorted(kept, key=lambda item: item.begin)


def mask(text: str, kinds: Sequence[PiiKind] = KINDS) -> str:
    """The text with the kind in brackets in place of each find."""
    if "@" not in text and not has_digit(text):
        return text  # as most texts are; no kind is without both
    return replaced(text, find(text, kinds))


def has_digit(text: str) -> bool:
    """Whether a text has a decimal digit of any script."""
    if text.isascii():  # tables are ten times as fast as patterns
        return len(text.encode().translate(None, b"0123456789")) < len(text)
    return DIGIT.search(text) is not None


def replaced(text: str, finds: Iterable[Found]) -> str:
    """The text with each find, in order and none over another, replaced by its kind in brackets."""
    parts, last = list[str](), 0
    for item in finds:
        parts += [text[last : item.begin], f"[{item.kind}]"]
        last = item.end
    return "".join([*parts, text[last:]]) if parts else text


def candidates(text: str) -> Iterator[Found]:
    """All finds of all kinds; most texts have no `@`, and many no digit, which costs less to see than to search."""
    for begin, end in emails(text):
        yield Found("EMAIL", begin, end, 0.99)
    shape = shape_of(text)
    if b"0" not in shape:
        return
    if b"0000000" in shape.translate(None, b" .()-"):
        for match in numbers(text):
            yield from number(text, match)
    if b"aa00" in shape and IBAN_OPENING.search(text):
        yield from found("INTERNATIONAL_BANK_ACCOUNT_NUMBER", IBAN, text, 1.0, has_iban_checksum)
    if IP_V4_MIDDLE.search(text):
        yield from found("IP_ADDRESS", IP_V4, text, 0.99, is_address)
    for begin, end in addresses_v6(text):
        if is_address(text[begin:end]):
            yield Found("IP_ADDRESS", begin, end, 0.99)
    if "AKIA" in text or "ASIA" in text:
        yield from found("AWS_ACCESS_KEY", AWS_ACCESS_KEY, text, 1.0)
    if "ecret" in text or "ECRET" in text:
        yield from found("AWS_SECRET_KEY", AWS_SECRET_KEY, text, 0.95)


def found(kind: PiiKind, pattern: re.Pattern[str], text: str, score: float, holds: Callable[[str], bool] | None = None) -> Iterator[Found]:
    """The matches of a pattern, of its last group if it has one, for which the check holds."""
    for match in pattern.finditer(text):
        if holds is None or holds(match[0]):
            yield Found(kind, match.start(pattern.groups), match.end(pattern.groups), score)


def number(text: str, match: re.Match[str]) -> Iterator[Found]:
    """A run of digits as what it is, if anything: a card by its checksum, a social security number or a phone number by its form."""
    begin, end = match.span()
    value = match[0]
    digits = "".join(DIGITS.findall(value.partition("x")[0]))
    plain = "(" not in value and "+" not in value and "x" not in value
    if plain and 12 <= len(digits) <= 19 and has_luhn_checksum(digits):
        yield Found("CREDIT_DEBIT_NUMBER", begin, end, 1.0)
    elif plain and SSN.fullmatch(value):
        yield Found("SSN", begin, end, 0.9)
    elif 7 <= len(digits) <= (15 if value.startswith("+") else 13) and is_phone(text, begin, end, value, digits):
        yield Found("PHONE", begin, end, 0.8)


def is_phone(text: str, begin: int, end: int, value: str, digits: str) -> bool:
    """International form, or digits in groups of two to four that are no date, or a bare number that is called one."""
    if value.startswith("+") or (value.startswith("00") and len(digits) >= 10):
        return True
    if is_address(value) or DATE.fullmatch(value):
        return False
    cued = PHONE_CUE.search(text, max(0, begin - 60), begin) is not None or PHONE_LABEL.match(text[end : end + 12]) is not None
    groups = DIGITS.findall(value)
    if len(groups) == 1:
        return cued
    if cued:
        return True
    widths = [len(group) for group in groups]
    if value.startswith(("(", "0")):
        return all(1 <= width <= 8 for width in widths)
    return len(groups) >= 3 and all(2 <= width <= 4 for width in widths) and len(digits) >= 8


def is_address(text: str) -> bool:
    """Whether it is an IP address, version 4 or 6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def has_luhn_checksum(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B)."""
    if len(set(digits)) == 1:
        return False
    doubled = sum(
        int(digit) if place % 2 == 0 else (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[int(digit)] for place, digit in enumerate(reversed(digits))
    )
    return doubled % 10 == 0


def has_iban_checksum(text: str) -> bool:
    """The check digits of a bank account number (ISO 13616: modulo 97)."""
    plain = "".join(character for character in text if character.isalnum()).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1
