"""Where the patterns of personal data can match: each is tried only where a sign that it needs is, and finds what it finds everywhere.

An expression that opens with a letter or a look behind is tried at every character of a text, and most characters open nothing.
"""

import re
from collections.abc import Iterator
from string import ascii_letters, digits

Span = tuple[int, int]
"""First character and the first one after it."""

EMAIL_NAME = re.compile(r"[A-Za-z0-9][\w.!#$%&'*+/=?^`{|}~-]{0,63}\Z")
EMAIL_DOMAIN = re.compile(r"@(?:[\w-]{1,63}\.)+[A-Za-z]{2,}")
MAX_EMAIL_NAME = 64
# digits with what stands between the groups of one number; never over a line end
NUMBER = re.compile(r"(?<!\d,)(?<![\w.$€£#:/-])(?:\+ ?|\()?\d(?:[ .()-]{0,2}\d){6,24}(?:x\d{1,6})?(?![\w@]|[.,:-]\d)")
SEVEN_DIGITS = re.compile(r"\d(?:[ .()-]{0,2}\d){6}")
IP_V6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![\w:])")
IP_V6_MIDDLE = re.compile(r":[0-9A-Fa-f]{0,4}:")
IP_V6_SIGNS = "0123456789abcdefABCDEF:"
MAX_ADDRESS = 39

DIGIT_OPENINGS = bytes.fromhex("d9 db df e0 e1 ea ef f0")
"""First bytes of digits of other scripts than ours in UTF-8; other signs open with them, too."""
CONTINUATIONS = bytes(range(0x80, 0xC0))
SHAPE = bytes.maketrans(
    (ascii_letters + digits).encode() + DIGIT_OPENINGS, b"a" * len(ascii_letters) + b"0" * (len(digits) + len(DIGIT_OPENINGS))
)


def shape_of(text: str) -> bytes:
    """The text with `0` for each digit and `a` for each letter of ASCII; signs of other scripts may be `0`, too."""
    return text.encode("utf-8", "surrogatepass").translate(SHAPE, CONTINUATIONS)


def emails(text: str) -> Iterator[Span]:
    """A name, an at sign and a domain: found from the at sign, before which a name has to end."""
    last, at = 0, text.find("@")
    while at >= 0:
        name = EMAIL_NAME.search(text, max(last, at - MAX_EMAIL_NAME), at)
        domain = EMAIL_DOMAIN.match(text, at) if name is not None else None
        if name is not None and domain is not None:
            last = domain.end()
            yield name.start(), last
        at = text.find("@", max(last, at + 1))


def numbers(text: str) -> Iterator[re.Match[str]]:
    """Numbers of seven digits and more, which a plus or a bracket may open: found from their first digit."""
    last = place = 0
    while (seven := SEVEN_DIGITS.search(text, place)) is not None:
        first = seven.start()
        found = next(filter(None, (NUMBER.match(text, begin) for begin in range(max(last, first - 2), first + 1))), None)
        place = first + 1 if found is None else found.end()
        if found is not None:
            last = place
            yield found


def addresses_v6(text: str) -> Iterator[Span]:
    """Runs of hexadecimal digits and colons that may be an address: found from two colons with at most four digits between them."""
    place = 0
    while (middle := IP_V6_MIDDLE.search(text, place)) is not None:
        before = text[max(place, middle.start() - MAX_ADDRESS) : middle.start()]
        found = IP_V6.match(text, middle.start() - len(before) + len(before.rstrip(IP_V6_SIGNS)))
        place = middle.end() if found is None else found.end()
        if found is not None:
            yield found.span()
