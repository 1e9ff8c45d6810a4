"""Patterns that are tried only where they can match find what they find when they are tried everywhere."""

import gzip
import json
import random
import re
import sys

import pytest

from llmops_shared import pii_search
from llmops_shared.pii import is_address

EMAIL = re.compile(pii_search.EMAIL_NAME.pattern.removesuffix(r"\Z") + pii_search.EMAIL_DOMAIN.pattern)
PIECES = [
    "+", " ", "(", ")", "-", ".", ",", "x", "@", "a@b.org", "jane.doe", "\u00e9", "1", "12", "1234567", "+1 415 555 2671", "\u0663\u0664\u0665",
    "\uff10", "::", "::1", ":", "a", "fe80", "fffff", "2001:db8::7", "$", "\n", "_", "%", "b-c.de", "\ud800", "a" * 64, "1" * 30,
]  # fmt: skip


@pytest.fixture(scope="module")
def texts(test_data):
    chosen = random.Random(4)
    made = ["".join(chosen.choices(PIECES, k=chosen.randrange(1, 14))) for _ in range(4000)]
    with gzip.open(test_data / "pii-presidio" / "synth_dataset_v2.jsonl.gz", "rt", encoding="utf-8") as file:
        return [*made, *(json.loads(line)["full_text"] for line in file)]


@pytest.mark.parametrize(
    ("search", "pattern"),
    [(pii_search.emails, EMAIL), (pii_search.numbers, pii_search.NUMBER), (pii_search.addresses_v6, pii_search.IP_V6)],
)
def test_a_search_finds_what_its_pattern_finds_everywhere(texts, search, pattern):
    # of runs with colons only those are looked at that can be an address
    wanted = is_address if search is pii_search.addresses_v6 else bool
    spans = [[found if isinstance(found, tuple) else found.span() for found in search(text)] for text in texts]
    found = [[span for span in of if wanted(text[slice(*span)])] for text, of in zip(texts, spans, strict=True)]

    assert found == [[match.span() for match in pattern.finditer(text) if wanted(match[0])] for text in texts]
    assert sum(map(len, found)) > 100


def test_every_digit_of_every_script_is_one_in_the_shape_of_a_text():
    everything = [chr(code) for code in range(sys.maxunicode + 1)]
    assert all(b"0" in pii_search.shape_of(character) for character in everything if character.isdecimal())
    assert pii_search.shape_of("Z\u00fcrich, 8\u0668 \u2019x\u2019") == b"a\xc3aaaa, 00 \xe2a\xe2"
