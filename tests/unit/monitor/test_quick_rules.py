"""Short ways through the rules, which look at a column of texts, against long ones that look at one."""

import math
import random
import re
from fractions import Fraction

import pytest

from llmops_monitor.rules.language import CODES, SPOKEN, UNKNOWN, by_words
from llmops_monitor.rules.pii import BY_SIGN, KINDS, candidates, search
from llmops_monitor.rules.readability import SENTENCE_END, num_sentence_ends
from llmops_monitor.rules.refusal import GROUPS, OPENING, SELF, refusal
from llmops_monitor.rules.relevance import groundedness, relevance_to_prompt, stem
from llmops_monitor.rules.repetition import repeated_trigram_share
from llmops_monitor.rules.sentiment import BOOSTERS, NEGATED, NEGATIONS, lexicon, sentiment
from llmops_monitor.rules.texts import Text, Texts
from llmops_monitor.rules.toxicity import as_meant, toxicity, toxicity_of
from llmops_monitor.rules.vocabulary import NEXT, Vocabulary, vocabulary
from llmops_monitor.rules.words import Exchanged
from llmops_monitor.signals import TOGETHER, measure
from llmops_shared.attack import COMPILED_INJECTION, COMPILED_JAILBREAK, ORDER, Pattern, ends_with_order
from llmops_shared.words import Words

SIGNS_AND_WORDS = (
    "+ ( ) - . , ' * @ $ é ? ! ] \" \n \t not 'not' i we i'm sorry apologize but ok's unable cannot help question it's okay as an ai do don't have the and of "
    "von der die und og ikke 12 1234567 ٣٤٥ :: fe80 192.168.1.1 4111 1111 AKIAIOSFODNN7EXAMPLE eyJabcdefghij.abcdefghijk.x password: is hunter22 street "
    "good very never horrible kind bad women stupid h4te $tupid f**k kill proud Σ \x00 \x80 \x85 ÿ \ud83d İ4a json in [{ ``` …"
).split(" ")
PIECES = [
    *SIGNS_AND_WORDS,
    "name is Ann Lee",
    "call me Ann Lee",
    "Name: Ann Lee",
    "personal",
    "important to",
    "a b c",
    "not very good",
    "s t u p i d",
]


@pytest.fixture(scope="module")
def contents() -> list[str]:
    draw = random.Random(7)
    return ["".join(draw.choice(PIECES) + draw.choice(["", " ", " "]) for _ in range(draw.randrange(24))) for _ in range(3000)]


@pytest.fixture
def texts(contents: list[str]) -> Texts:
    """A column that no other rule has looked at."""
    return Texts(contents)


def test_the_words_of_a_column_are_those_of_each_text(texts: Texts, contents: list[str]) -> None:
    assert [texts[place].words for place in range(len(texts))] == [Words(content).words for content in contents]
    assert texts.num_words.tolist() == [len(Words(content).words) for content in contents]
    assert texts.words.count(NEXT) == len(contents) == len(texts.starts)


def test_signs_are_those_of_the_text(texts: Texts, contents: list[str]) -> None:
    assert texts.num_digits.tolist() == [sum(sign in "0123456789" for sign in content) for content in contents]
    assert texts.count_at(texts.find_signs(b"@*")).tolist() == [content.count("@") + content.count("*") for content in contents]
    assert texts.has("eyJ").tolist() == ["eyJ" in content for content in contents]


def test_sentence_ends_are_those_of_the_pattern(texts: Texts, contents: list[str]) -> None:
    assert num_sentence_ends(texts).tolist() == [len(SENTENCE_END.findall(content)) for content in contents]


def test_the_share_of_runs_said_twice(texts: Texts, contents: list[str]) -> None:
    for words, share in zip((Words(content).words for content in contents), repeated_trigram_share(texts), strict=True):
        runs = list(zip(words, words[1:], words[2:], strict=False))
        assert share == (1 - len(set(runs)) / len(runs) if len(runs) > 1 else 0)


def test_each_function_word_votes_once_and_shares_its_vote(texts: Texts, contents: list[str]) -> None:
    for content, told in zip(contents, by_words(texts), strict=True):
        heard = [SPOKEN[word] for word in Words(content).distinct if word in SPOKEN]
        votes = {code: sum(Fraction(1, len(codes)) for codes in heard if code in codes) for code in CODES}
        assert told == (max(CODES, key=votes.__getitem__) if heard else UNKNOWN)


def test_sentiment_word_by_word(texts: Texts, contents: list[str]) -> None:
    for words, figure in zip((Words(content).words for content in contents), sentiment(texts), strict=True):
        total, turn = 0.0, words.index("but") if "but" in words else -1
        for place, word in enumerate(words):
            if word in lexicon():
                before, valence = words[max(0, place - 3) : place], lexicon()[word]
                valence += BOOSTERS.get(before[-1], 0) * math.copysign(1, valence) if before else 0
                valence *= 1 if NEGATIONS.isdisjoint(before) else NEGATED
                total += valence if turn < 0 else valence * (1.5 if place > turn else 0.5)
        assert figure == total / math.sqrt(total * total + 15)
    assert 0 not in lexicon().values()  # a valence of 0 says that a word is not in the lexicon


def test_no_toxic_text_is_passed_over(texts: Texts, contents: list[str]) -> None:
    assert toxicity(texts).tolist() == [toxicity_of(as_meant(Text(content))) for content in contents]


def test_every_pattern_that_may_match_is_searched(texts: Texts) -> None:
    for place, figure in enumerate(refusal(texts)):
        text, doubt = texts[place], 1.0
        for needs, patterns in GROUPS.items():
            for finds, weight, of_oneself in patterns:
                asked = not needs.isdisjoint(text.distinct) and not (of_oneself and SELF.isdisjoint(text.distinct))
                doubt *= 1 - weight if asked and finds(text.lower[:OPENING]) else 1
        assert figure == 1 - doubt


def test_kinds_that_need_a_sign_or_digits_are_not_missed(texts: Texts, contents: list[str]) -> None:
    kinds = {known: found for known, found in candidates(texts) if known in BY_SIGN or known.needs.startswith("00")}

    assert (
        len(kinds)
        == len([known for known in KINDS if known.needs in ("@", "(at", "://", "eyJ", "-----BEGIN", "ame is", "ame:", "all me")]) + 3
    )
    for known, found in kinds.items():
        assert not any(search(content, [known]) for content, is_candidate in zip(contents, found, strict=True) if not is_candidate)


def test_shares_of_content_words_are_those_of_two_sets(texts: Texts, contents: list[str]) -> None:
    stems = [{stem(word) for word in Words(content).distinct} - {""} for content in contents]
    others = stems[1:] + stems[:1]
    shares = [len(wanted & found) / len(wanted) if wanted else None for wanted, found in zip(stems, others, strict=True)]
    moved = Texts(contents[1:] + contents[:1])

    assert relevance_to_prompt(texts, moved).tolist() == [share or 0 for share in shares]
    assert groundedness(texts, moved).tolist() == [1 if share is None else share for share in shares]


def test_an_exchange_has_the_same_figures_alone_and_among_others(contents: list[str]) -> None:
    exchanges = [
        Exchanged(prompt, response, context)
        for prompt, response, context in zip(contents, contents[1:], [None, *contents[2:-1], None], strict=False)
    ]
    among = measure(exchanges)

    assert len(exchanges) > 2 * TOGETHER
    for place in (0, 1, TOGETHER - 1, TOGETHER, len(exchanges) - 1):
        alone = {name: values.item() for name, values in measure([exchanges[place]]).items()}
        assert alone == pytest.approx({name: values[place] for name, values in among.items()}, rel=0, abs=0, nan_ok=True)
    assert all(values.shape == (0,) for values in measure([]).values())


def test_words_without_end_are_forgotten_and_figures_stay() -> None:
    before = vocabulary()
    first = toxicity(Texts(["You are a stupid idiot."]))

    _ = Texts(["x" * Vocabulary.MAX_CHARACTERS]).numbers

    assert vocabulary() is not before
    assert toxicity(Texts(["You are a stupid idiot."])) == first > 0


@pytest.mark.parametrize("pattern", [*COMPILED_INJECTION, *COMPILED_JAILBREAK], ids=lambda pattern: pattern.needs[0] or "always")
def test_an_attack_has_a_piece_that_its_pattern_needs(pattern: Pattern) -> None:
    draw = random.Random(3)
    pieces = re.findall(r"[a-z']+|[<>/\[\]|:#]+|[🔓🔒2]", pattern.finds.__self__.pattern)  # type: ignore[attr-defined]
    texts = ["".join(draw.choice(pieces) + draw.choice(["", " ", " ", " "]) for _ in range(draw.randrange(1, 12))) for _ in range(2000)]

    found = [text for text in texts if pattern.finds(text)]

    assert found and all(any(need in text for need in pattern.needs) for text in found)


@pytest.mark.parametrize(
    "end", ["what is the meaning of it?", " what is it. ", "please explain this to me!\n", "and explain this to me.", "?", ""]
)
@pytest.mark.parametrize("before", ["", "a text\n", "a text. ", "a text? ", "a |", "a text.\n \n", "a text ", "explain this to me now. "])
def test_an_order_is_found_behind_the_last_sentence_alone(before: str, end: str) -> None:
    assert ends_with_order(before + end) == (ORDER.search(before + end) is not None)


def test_a_pattern_that_begins_with_signs_still_begins_a_word() -> None:
    said = ["I'm sorry, but I cannot help.", "it is not okay", "as an ai model", "I do not have personal opinions", "not appropriate"]
    inside = ["lai'm rsorry bit", "bit is not sokay", "has an ai model", "undo not having personal", "knot appropriate cannot"]

    assert (refusal(Texts(said)) > refusal(Texts(inside))).all()
