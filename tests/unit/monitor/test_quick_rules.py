"""Short ways through the rules, against the long ones on random texts."""

import random

import pytest

from llmops_monitor.rules.language import CODES, ONLY_ENGLISH, SPOKEN, UNKNOWN, language
from llmops_monitor.rules.pii import KINDS, has_sign, search
from llmops_monitor.rules.readability import SENTENCE_END, num_sentence_ends
from llmops_monitor.rules.refusal import OF_ANYONE, OF_ANYTHING, OPENING, SELF, refusal
from llmops_monitor.rules.repetition import repeated_trigram_share
from llmops_monitor.rules.words import Words

SIGNS_AND_WORDS = (
    "+ ( ) - . , ' * @ $ é ? ! ] \" \n \t not 'not' i we i'm sorry apologize but ok's unable cannot help question it's okay as an ai do don't have the and of "
    "von der die und og ikke 12 1234567 ٣٤٥ :: fe80 192.168.1.1 4111 1111 AKIAIOSFODNN7EXAMPLE eyJabcdefghij.abcdefghijk.x password: is hunter22 street"
).split(" ")
PIECES = [*SIGNS_AND_WORDS, "name is Ann Lee", "call me Ann Lee", "Name: Ann Lee", "personal", "important to", "a b c"]


@pytest.fixture(scope="module")
def texts() -> list[Words]:
    draw = random.Random(7)
    return [Words("".join(draw.choice(PIECES) + draw.choice(["", " ", " "]) for _ in range(draw.randrange(24)))) for _ in range(3000)]


def test_sentence_ends_by_table_are_those_of_the_pattern(texts: list[Words]) -> None:
    assert [num_sentence_ends(text.content) for text in texts] == [len(SENTENCE_END.findall(text.content)) for text in texts]


def test_signs_and_digits_are_those_of_the_text(texts: list[Words]) -> None:
    for text in texts:
        assert {sign for sign in text.content if not sign.isalnum() and not sign.isspace()} <= set(text.signs)
        assert text.num_digits == sum(sign.isdigit() for sign in text.content)


def test_a_text_with_few_repeats_has_no_run_twice(texts: list[Words]) -> None:
    for text in texts:
        runs = list(zip(text.words, text.words[1:], text.words[2:], strict=False))
        assert repeated_trigram_share(text) == (1 - len(set(runs)) / len(runs) if len(runs) > 1 else 0)


def test_votes_as_one_number_are_the_shares_of_the_words(texts: list[Words]) -> None:
    for text in texts:
        heard = [word for word in text.distinct if word in SPOKEN]
        votes = {code: sum(1 / len(SPOKEN[word]) for word in heard if code in SPOKEN[word]) for code in CODES}
        most = max(votes.values())
        expected = UNKNOWN if not heard else next(code for code in CODES if votes[code] > most - 1e-9)
        assert language(text) == expected or 2 * len(ONLY_ENGLISH.intersection(heard)) > len(heard)


def test_every_pattern_that_may_match_is_searched(texts: list[Words]) -> None:
    for text in texts:
        groups = OF_ANYTHING if SELF.isdisjoint(text.distinct) else OF_ANYONE
        doubt = 1.0
        for needs, patterns in groups:
            for finds, weight in patterns:
                doubt *= 1 - weight if not needs.isdisjoint(text.distinct) and finds(text.lower[:OPENING]) else 1
        assert refusal(text) == 1 - doubt


def test_kinds_that_need_a_sign_or_digits_are_not_missed(texts: list[Words]) -> None:
    signed = [known for known in KINDS if known.needs in ("@", "(at", "://", "eyJ", "-----BEGIN", "ame is", "ame:", "all me")]
    long_numbers = [known for known in KINDS if known.needs.startswith("00")]

    assert {known.name for known in long_numbers} == {"card", "social_security", "coordinates"}
    for text in texts:
        assert has_sign(text) or not search(text.content, signed)
        assert all(len(known.needs) <= text.num_digits for known in long_numbers if search(text.content, [known]))


def test_a_pattern_that_begins_with_signs_still_begins_a_word() -> None:
    said = ["I'm sorry, but I cannot help.", "it is not okay", "as an ai model", "I do not have personal opinions", "not appropriate"]
    inside = ["lai'm rsorry bit", "bit is not sokay", "has an ai model", "undo not having personal", "knot appropriate cannot"]

    for whole, part in zip(said, inside, strict=True):
        assert refusal(Words(whole)) > refusal(Words(part))
