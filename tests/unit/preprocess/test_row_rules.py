"""Repair, published web rules, personal data and decontamination; real labelled text where there is some."""

import gzip
import json
import random
from collections import Counter

import pytest

from llmops_preprocess.c4 import clean_page
from llmops_preprocess.decontaminate import decontaminate
from llmops_preprocess.fineweb import broken_fineweb_rule
from llmops_preprocess.gopher import broken_quality_rule, broken_repetition_rule
from llmops_preprocess.pii import find_pii, handle_pii
from llmops_preprocess.record import Record
from llmops_preprocess.repair import repair
from llmops_preprocess.row_rules_config import C4, Decontamination, FineWeb, GopherQuality, GopherRepetition, Pii
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError
from llmops_shared.pii import mask
from llmops_shared.store import join

PRESIDIO = {
    "EMAIL_ADDRESS": "EMAIL", "PHONE_NUMBER": "PHONE", "IP_ADDRESS": "IP_ADDRESS", "CREDIT_CARD": "CREDIT_DEBIT_NUMBER",
    "IBAN_CODE": "INTERNATIONAL_BANK_ACCOUNT_NUMBER", "US_SSN": "SSN",
}  # fmt: skip
# made of pieces, for scanners of repositories look for whole ones
ACCESS_KEY, SECRET_KEY = "AKIA" + "IOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"


def record(text, messages=()):
    return Record("x", text, "PSF-2.0", messages=messages)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe@example.com.", "Write to [EMAIL]."),
        ("call +1 (415) 555-2671 now", "call [PHONE] now"),
        ("from 198.51.100.7 and 2001:db8::8a2e:370:7334", "from [IP_ADDRESS] and [IP_ADDRESS]"),
        ("card 4111 1111 1111 1111 please", "card [CREDIT_DEBIT_NUMBER] please"),
        ("card 4111 1111 1111 1112 please", "card 4111 1111 1111 1112 please"),  # the check digit is wrong
        ("pay GB82 WEST 1234 5698 7654 32 today", "pay [INTERNATIONAL_BANK_ACCOUNT_NUMBER] today"),
        ("pay GB82 WEST 1234 5698 7654 33 today", "pay GB82 WEST 1234 5698 7654 33 today"),
        (f"key {ACCESS_KEY}", "key [AWS_ACCESS_KEY]"),
        (f'aws_secret_access_key = "{SECRET_KEY}"', 'aws_secret_access_key = "[AWS_SECRET_KEY]"'),
        ("SSN 514-69-0360", "SSN [SSN]"),
        ("version 3.11.7 of 2024-05-01, pages 100-200, 1,234,567 rows, 12:30:45, $1000000", None),
    ],
)
def test_personal_data_is_masked_and_numbers_that_are_none_stay(text, masked):
    assert mask(text, Pii().kinds) == (text if masked is None else masked)


def test_recall_and_precision_on_labelled_text(test_data):
    wanted, hit, wrong = Counter(), Counter(), Counter()
    with gzip.open(test_data / "pii-presidio" / "synth_dataset_v2.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            found = find_pii(row["full_text"], Pii().kinds)
            spans = [
                (PRESIDIO[span["entity_type"]], span["start_position"], span["end_position"])
                for span in row["spans"]
                if span["entity_type"] in PRESIDIO
            ]
            for kind, begin, end in spans:
                wanted[kind] += 1
                hit[kind] += any(item.type == kind and item.begin <= begin and end <= item.end for item in found)
            for item in found:
                wrong[item.type] += not any(kind == item.type and begin < item.end and item.begin < end for kind, begin, end in spans)

    assert wanted.total() > 150
    assert hit.total() / wanted.total() >= 0.99
    assert all(hit[kind] / wanted[kind] >= 0.95 for kind in wanted)
    assert hit.total() / (hit.total() + wrong.total()) >= 0.98


def test_documents_and_turns_are_masked_or_dropped():
    turns = (Message(role="user", content="I am a@b.org"), Message(role="assistant", content="Hello."))
    records = [record("mail a@b.org"), record("nothing here"), record("I am a@b.org\n\nHello.", turns)]

    kept, count = handle_pii(records, Pii(action="mask"))
    assert [item.text for item in kept] == ["mail [EMAIL]", "nothing here", "I am [EMAIL]\n\nHello."]
    assert kept[2].messages[0].content == "I am [EMAIL]"
    assert count.dropped == {}
    kept, count = handle_pii(records, Pii(action="drop"))
    assert [item.text for item in kept] == ["nothing here"]
    assert count.dropped == {"pii": 2}


def test_only_the_kinds_asked_for_are_masked():
    assert mask("a@b.org at 198.51.100.7", ["IP_ADDRESS"]) == "a@b.org at [IP_ADDRESS]"


SENTENCES = "The quick fox said that all of us have to be here with them, and we did so. "


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("\n".join(f"{SENTENCES} Number {number} was not the same as others." for number in ("one", "two", "three")), None),
        (SENTENCES, "min_words"),
        ("ab " * 60, "min_mean_word_length"),
        ("extraordinarily " * 60, "max_mean_word_length"),
        ("# the word and that thing here is. " * 20, "max_symbol_ratio"),
        ("- the same and more of it all\n" * 20, "max_bullet_lines"),
        ("the same and more of it all, however it goes on to be and so on and so forth ...\n" * 9, "max_ellipsis_lines"),
        ("the 1000 and 2000 or 3000 to be 4000 " * 10, "min_alphabetic_words"),
        ("great words without small ones " * 20, "min_stop_words"),
    ],
)
def test_each_gopher_quality_rule_has_a_text_that_breaks_it(text, rule):
    assert broken_quality_rule(text, GopherQuality()) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            "All of these words differ from each other here, so nothing at all repeats itself; a text has to be long for that rule",
            None,
        ),
        ("one paragraph\n\n" * 5, "max_duplicate_paragraphs"),
        ("a line\n" * 5, "max_duplicate_lines"),
        ("for me, for me, for me, for me we sing", "max_top_ngram"),
        (" ".join(f"w{n}" for n in range(40)) + " end " + " ".join(f"w{n}" for n in range(40)), "max_duplicate_ngrams"),
    ],
)
def test_each_gopher_repetition_rule_has_a_text_that_breaks_it(text, rule):
    assert broken_repetition_rule(text, GopherRepetition()) == rule


def repeats_too_much(words, shares, characters):
    """Gopher's rule on repeated runs, as its paper has it: a run that was there before counts whole, and none counts twice."""
    for size, share in enumerate(shares, start=5):
        seen, place, repeated = set(), 0, 0
        while place <= len(words) - size:
            run = tuple(words[place : place + size])
            repeated += len("".join(run)) * (run in seen)
            place += size if run in seen else 1
            seen.add(run)
        if repeated > share * characters:
            return "max_duplicate_ngrams"
    return None


@pytest.mark.parametrize("shares", [(0.15, 0.14, 0.13, 0.12, 0.11, 0.10), (0.9, 0.2, 0.3, 0.9, 0.1, 0.4)])
def test_repeated_runs_are_found_as_by_looking_at_each(shares):
    rule, found = GopherRepetition(max_top_ngram=(1, 1, 1), max_duplicate_ngrams=shares), Counter()
    for seed in range(400):
        chosen = random.Random(seed)
        words = [f"w{chosen.randrange(chosen.choice((3, 30, 300)))}" for _ in range(chosen.randrange(5, 90))]
        words += words[: chosen.randrange(0, 20)]

        why = broken_repetition_rule(" ".join(words), rule)

        assert why == repeats_too_much(words, shares, len(" ".join(words))), f"seed {seed}"
        found[why] += 1
    assert min(found.values()) > 50 and len(found) == 2


def test_c4_keeps_lines_that_are_sentences_and_drops_pages_with_few():
    page = "Home | News\nThis is one. This is two. This is three [1].\nPlease enable Javascript here.\nWe wrote four. And Mr. Five came.\nShort one."

    assert clean_page(page, C4()) == ("This is one. This is two. This is three .\nWe wrote four. And Mr. Five came.", None)
    assert clean_page("One. Two. Three of them.", C4()) == ("One. Two. Three of them.", "min_sentences")
    assert clean_page("Some code { here } is it.", C4())[1] == "curly_bracket"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("A line that ends as it should, and long enough.\n" + "Another that says something else instead of it.", None),
        ("A line of some length that ends with no sign\n" * 9, "min_punctuated_lines"),
        ("Short.\nShorter.\nTiny.", "max_short_lines"),
        ("A line that ends as it should, and long enough.\n" * 3, "max_duplicate_line_characters"),
        (" " * 31 + "one.\n" + " " * 31 + "two.\n" + " " * 31 + "six.\n", "max_line_ends_per_word"),
    ],
)
def test_each_fineweb_rule_has_a_text_that_breaks_it(text, rule):
    assert broken_fineweb_rule(text, FineWeb()) == rule


def test_documents_that_hold_evaluation_data_are_dropped(root, paragraphs, write_lines):
    write_lines(join(root, "eval", "a.jsonl"), [{"question": paragraphs[0], "choices": [paragraphs[1], "short"]}])
    write_lines(join(root, "eval", "b.jsonl"), ["a short question of seven words only"])
    records = [
        record(f"Seen before: {paragraphs[0]}"),
        record(f"{paragraphs[2]} A SHORT question, of seven words only!"),
        record(paragraphs[3]),
        record("short"),
    ]

    kept, count = decontaminate(records, Decontamination(uris=(join(root, "eval"),)))

    assert kept == records[2:]
    assert count.dropped == {"contaminated": 2}
    assert len(decontaminate(records, Decontamination(uris=(join(root, "eval"),), max_matches=1))[0]) == 3


def test_an_evaluation_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LlmopsError, match="holds no .jsonl"):
        decontaminate([record("x")], Decontamination(uris=(str(tmp_path / "none"),)))


def test_text_that_went_through_a_wrong_codec_is_repaired_and_style_stays():
    kept, count = repair([record("sch\u00c3\u00b6n \u201cquoted\u201d"), record("plain &amp; simple")])

    assert [item.text for item in kept] == ["sch\u00f6n \u201cquoted\u201d", "plain &amp; simple"]
    assert count.rows_in == count.rows_out == 2


def test_stages_that_are_on_are_counted_in_order(tmp_path, paragraphs, write_lines, preprocess, read_rows):
    write_lines(str(tmp_path / "raw.jsonl"), [{"text": f"{text} Mail me@example.com."} for text in paragraphs])
    write_lines(str(tmp_path / "eval.jsonl"), [{"text": paragraphs[0]}])

    manifest = preprocess(
        str(tmp_path),
        repair=True,
        pii={"action": "mask"},
        web_quality={"fineweb": {}},
        decontamination={"uris": [str(tmp_path / "eval.jsonl")]},
    )

    assert [count.stage for count in manifest.counts] == [
        "read", "repair", "normalise", "language", "quality", "fineweb", "decontaminate", "pii", "exact_duplicates", "near_duplicates",
        "tokenize",
    ]  # fmt: skip
    assert manifest.counts[6].dropped["contaminated"] >= 1
    rows = read_rows(str(tmp_path / "out"), manifest, "train")
    assert all(row["text"].endswith("Mail [EMAIL].") for row in rows)
