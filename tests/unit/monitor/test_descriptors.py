import pytest

from llmops_monitor.descriptors import DESCRIPTORS, Text, describe, signature_of
from llmops_monitor.two_samples import compare_samples
from llmops_monitor.windows import independent, to_text
from llmops_shared.contracts.exchange import Exchange, Message
from llmops_shared.errors import LlmopsError
from support.traffic import chat, exchange, good, questions


def traffic(prompts: list[str], start: int = 0, **changes: object) -> list[Exchange]:
    return [exchange(chat(prompt, "an answer", "kind"), start + number, good, **changes) for number, prompt in enumerate(prompts)]


def prompts(number: int, start: int = 0) -> list[str]:
    return [row.messages[0].content for row in questions()[start : start + number]]


def test_descriptors_of_a_text() -> None:
    content = "Why does f(x) = 2;\nfail, why?"
    text = Text(content, 12, signature_of(content))

    assert {descriptor.name: round(descriptor.value(text), 4) for descriptor in DESCRIPTORS} == {
        "num_tokens": 12,
        "characters": 29,
        "words": 7,
        "lines": 2,
        "mean_word_length": 2.4286,
        "non_letter_share": round(7 / 29, 4),
        "code_sign_share": round(4 / 29, 4),
        "code_fences": 0,
        "distinct_word_share": round(6 / 7, 4),
    }


def test_an_empty_text_has_descriptors() -> None:
    values = {descriptor.name: descriptor.value(Text("", 0, "")) for descriptor in DESCRIPTORS}

    assert values.pop("lines") == 1 and set(values.values()) == {0}


def test_unknown_words_are_no_sign_of_drift_between_windows_of_one_kind() -> None:
    samples = independent(traffic(prompts(300)), traffic(prompts(300, 300), 1000), "prompt")
    other = independent(
        traffic(prompts(300)), traffic([f"zig{number} zag{number} zog{number}x" for number in "abcdefghijkl"], 1000), "prompt"
    )

    same = describe(samples.reference, samples.current)["unknown_word_share"]
    strange = describe(other.reference, other.current)["unknown_word_share"]

    assert same[0].mean() > 0.05  # a window that is held against its own words would have none
    assert compare_samples(*same).p_value > 0.01
    assert strange[1].mean() == 1


def test_windows_with_the_same_prompts_are_alike_in_every_descriptor() -> None:
    samples = independent(traffic(prompts(200)), traffic(prompts(200), 1000), "prompt")

    assert {name: compare_samples(*windows).distance for name, windows in describe(samples.reference, samples.current).items()} == {
        **{descriptor.name: 0 for descriptor in DESCRIPTORS},
        "unknown_word_share": 0,
    }


def test_signatures_ignore_numbers_case_and_punctuation() -> None:
    assert signature_of("Ticket 4711: is IT done?") == signature_of("ticket 9,  is it done")
    assert signature_of("is it done") != signature_of("it is done")


def test_a_prompt_counts_once_in_its_window() -> None:
    reference, current = traffic(prompts(100)), traffic(["Are you there?"] * 60 + prompts(40, 200), 1000)

    samples = independent(reference, current, "prompt")

    assert (len(samples.reference), len(samples.current)) == (100, 41)
    assert samples.remarks == ["59 of 100 requests of the current window repeat a prompt; each counts once."]
    assert samples.current[0].content == "Are you there?"


def test_windows_with_repeats_are_cut_to_one_size_first() -> None:
    often = [prompts(50)[number % 50] for number in range(1000)]

    samples = independent(traffic(often), traffic(often[:100], 2000), "prompt")

    assert samples.remarks[0] == "Prompts repeat, so both windows were cut to 100 requests before repeats were left out."
    assert len(samples.reference) < 50 and len(samples.current) == 50


def test_windows_that_overlap_are_refused() -> None:
    exchanges = traffic(prompts(10))

    with pytest.raises(LlmopsError, match=r"share 10 of 10 and 10 requests.*reference.half=first current.half=second"):
        independent(exchanges, exchanges, "prompt")


def test_of_a_conversation_the_last_user_message_is_described() -> None:
    turns = [
        Message(role="system", content="Be brief."), Message(role="user", content="first"),
        Message(role="assistant", content="yes"), Message(role="user", content="second"),
    ]  # fmt: skip
    talk = exchange(questions()[0], 1, good, messages=turns, response="an answer", num_response_tokens=2)

    assert to_text(talk, "prompt").content == "second"
    assert to_text(talk, "response") == Text("an answer", 2, "second")
    assert to_text(talk.model_copy(update={"messages": []}), "prompt").content == ""
