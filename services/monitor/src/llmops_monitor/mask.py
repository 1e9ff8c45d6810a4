"""Personal data and secrets in texts that people are shown, replaced by the name of their kind; in several encodings, too."""

import base64
import binascii
import html
import re
from collections.abc import Mapping
from urllib.parse import unquote

from llmops_monitor.rules.pii import Found, find
from llmops_shared import pii

ENCODED = re.compile(
    r"(?:[A-Za-z0-9+/_-]{4}){4,}[A-Za-z0-9+/_=-]{0,4}"  # base64
    r"|(?:[0-9a-fA-F]{2}[ :]?){8,}"  # hexadecimal
    r"|[^\s<>]*%[0-9A-Fa-f]{2}[^\s<>]*"  # URL
    r"|(?:[^\s;&]*&#?\w{1,6};)+[^\s&]*"  # HTML
    r"|[^\s\\]*(?:\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2})(?:[^\s\\]|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2})*"  # JSON, Python
)
ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
LONG_DIGITS = re.compile(r"\d(?:[ ().:/-]?\d){5,}")
"""Six digits in a row or more, however they are set: too much is masked rather than too little."""
MIXED = re.compile(r"\b(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{9,}\b")
"""Letters and digits in one long word: keys, plates, numbers of documents."""


PLATFORM: Mapping[pii.PiiKind, str] = {
    "EMAIL": "email", "PHONE": "phone", "IP_ADDRESS": "ip_address", "CREDIT_DEBIT_NUMBER": "card", "SSN": "social_security",
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER": "iban", "AWS_ACCESS_KEY": "aws_key", "AWS_SECRET_KEY": "secret",
}  # fmt: skip
"""What the kinds that the platform masks everywhere are called here."""


def mask(text: str) -> str:
    """The text with personal data, secrets, and what may decode to them replaced by their kind in brackets."""
    text = ENCODED.sub(lambda match: "[encoded]" if hides(match[0]) else match[0], text)
    parts, end = [], 0
    for found in pieces(text):
        parts += [text[end : found.start], f"[{found.kind}]"]
        end = found.end
    masked = "".join([*parts, text[end:]])
    return MIXED.sub("[code]", LONG_DIGITS.sub("[number]", masked))


def pieces(text: str) -> list[Found]:
    """What the platform's rules find, and ours, which know more kinds and are less sure; what overlaps is one piece, of the sure kind."""
    sure = [Found(PLATFORM[item.kind], item.begin, item.end) for item in pii.find(text)]
    joined: list[Found] = []
    for found in sorted([*sure, *find(text)], key=lambda found: found.start):
        if joined and found.start < joined[-1].end:
            last = joined.pop()
            found = Found((found if found in sure else last).kind, last.start, max(last.end, found.end))
        joined.append(found)
    return joined


def hides(text: str) -> bool:
    """Whether a text is an encoding of something readable: names are found by no pattern, so all that is encoded is left out."""
    if "%" in text and unquote(text) != text:
        return True
    if "&" in text and html.unescape(text) != text:
        return bool(re.search(r"&#", text)) or bool(find(html.unescape(text)))
    if ESCAPE.search(text):
        return True
    plain = re.sub(r"[ :]", "", text)
    if len(plain) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", plain):
        return readable(bytes.fromhex(plain))
    try:
        return readable(base64.b64decode(text.translate(str.maketrans("-_", "+/")).rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)))
    except (binascii.Error, ValueError):
        return False


def readable(content: bytes) -> bool:
    """Whether bytes are text: a word that happens to be base64 decodes to control characters."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return len(text) > 3 and sum(sign.isprintable() or sign in "\n\t" for sign in text) > 0.9 * len(text)
