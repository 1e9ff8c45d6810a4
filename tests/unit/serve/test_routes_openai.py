"""OpenAI's routes, by OpenAI's own client."""

import contextlib
import re

import openai
import pytest
from openai import OpenAI

QUESTION = [{"role": "user", "content": "What does itertools.chain do?"}]


@pytest.fixture(scope="module")
def client(url):
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@contextlib.contextmanager
def refused(pattern):
    """The block is answered with 422 and this text."""
    with pytest.raises(openai.UnprocessableEntityError) as error:
        yield
    assert re.search(pattern, error.value.body)


def test_a_chat_is_answered_with_its_token_counts(client):
    answer = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=8, temperature=0)

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=12, temperature=0)

    with client.chat.completions.create(
        model="tiny", messages=QUESTION, max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    assert "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-2:] == [None, "length"]
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_an_answer_ends_before_its_stop_sequence_streamed_or_not(client):
    whole = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=24, temperature=0).choices[0].message.content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]

    stopped = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=24, temperature=0, stop=stop)
    with client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=24, temperature=0, stop=[stop], stream=True) as stream:
        streamed = "".join(chunk.choices[0].delta.content for chunk in stream)

    assert stopped.choices[0].message.content == whole.partition(stop)[0]
    assert stopped.choices[0].finish_reason == "stop"
    assert streamed == whole.partition(stop)[0]


def test_a_seed_gives_the_same_draw_again_and_another_seed_another(client):
    def draw(seed):
        answer = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=16, temperature=1.5, top_p=0.95, seed=seed)
        return answer.choices[0].message.content

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_log_probabilities_are_given_when_asked_for(client):
    answer = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=4, temperature=0, logprobs=True)

    assert len(answer.choices[0].logprobs.content) == 4
    assert all(one.logprob < 0 for one in answer.choices[0].logprobs.content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("frequency_penalty", 0.5),
        ("presence_penalty", 0.5),
        ("logit_bias", {"1": 5}),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        ("response_format", {"type": "json_object"}),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_name(client, field, value):
    with refused(f"Input validation error: `{field}` is not supported by this engine"):
        client.chat.completions.create(model="tiny", messages=QUESTION, **{field: value})


def test_fields_nobody_knows_are_tolerated(client):
    answer = client.chat.completions.create(
        model="any name", messages=QUESTION, max_tokens=2, user="me", store=False, extra_body={"not_known": [1]}
    )

    assert answer.usage.completion_tokens == 2


def test_a_prompt_longer_than_the_window_is_refused_with_the_counts(client):
    with refused(r"must have less than 256 tokens. Given: \d{3,}"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "chain " * 300}], max_tokens=4)


def test_an_answer_longer_than_the_window_is_refused_with_the_counts(client):
    with refused(r"must be <= 256. Given: \d+ `inputs` tokens and 255"):
        client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=255)


def test_without_max_tokens_the_answer_may_fill_the_window(client):
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "a " * 100}], temperature=0)

    assert answer.usage.total_tokens <= 256
    assert answer.choices[0].finish_reason == "stop" or answer.usage.total_tokens == 256


def test_a_conversation_the_template_refuses_is_the_clients_error(client):
    with refused("no system messages"):
        client.chat.completions.create(model="tiny", messages=[{"role": "system", "content": "Be short."}, *QUESTION])


def test_context_from_an_endpoint_without_an_index_is_refused(client):
    with refused("endpoint tiny has no index"):
        client.chat.completions.create(model="tiny", messages=QUESTION, extra_body={"retrieval": True})


def test_completions_answer_several_prompts(client):
    one = client.completions.create(model="tiny", prompt="What does", max_tokens=6, temperature=0)
    both = client.completions.create(model="tiny", prompt=["What does", "Return an"], max_tokens=6, temperature=0)

    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == one.choices[0].text
    assert both.usage.completion_tokens == 12


def test_a_completion_streams(client):
    whole = client.completions.create(model="tiny", prompt=["What does", "Return an"], max_tokens=6, temperature=0)

    texts = ["", ""]
    with client.completions.create(model="tiny", prompt=["What does", "Return an"], max_tokens=6, temperature=0, stream=True) as stream:
        for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].text

    assert texts == [choice.text for choice in whole.choices]


def test_more_prompts_than_allowed_are_refused(client):
    with refused("at most 4 prompts"):
        client.completions.create(model="tiny", prompt=["x"] * 5, max_tokens=1)


def test_the_endpoint_is_the_one_model(client):
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_the_request_id_is_the_clients_own_or_a_new_one(client):
    mine = client.chat.completions.with_raw_response.create(
        model="tiny", messages=QUESTION, max_tokens=1, extra_headers={"x-request-id": "window-17"}
    )
    new = client.chat.completions.with_raw_response.create(model="tiny", messages=QUESTION, max_tokens=1)

    assert mine.headers["x-request-id"] == "window-17"
    assert mine.parse().id == "window-17"
    assert len(new.headers["x-request-id"]) == 32


def test_the_likeliest_tokens_are_told_with_each_one(client):
    answer = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)

    for one in answer.choices[0].logprobs.content:
        assert len(one.top_logprobs) == 3
        assert one.top_logprobs[0].logprob == pytest.approx(one.logprob)
        assert one.top_logprobs[0].token == one.token


def test_likeliest_tokens_without_log_probabilities_are_refused(client):
    with refused("`top_logprobs` needs `logprobs`"):
        client.chat.completions.create(model="tiny", messages=QUESTION, top_logprobs=2)


def test_a_prompt_is_echoed_with_its_log_probabilities(client):
    """What evaluation harnesses ask for: how likely is this very text?"""
    answer = client.completions.create(model="tiny", prompt="What does itertools", max_tokens=2, temperature=0, echo=True, logprobs=2)

    (choice,) = answer.choices
    told = choice.logprobs
    assert choice.text.startswith("What does itertools")
    assert "".join(told.tokens[: answer.usage.prompt_tokens]) == "What does itertools"
    assert len(told.tokens) == len(told.token_logprobs) == answer.usage.total_tokens
    assert told.token_logprobs[0] is None and all(value < 0 for value in told.token_logprobs[1:])
    assert [choice.text[at : at + len(token)] for at, token in zip(told.text_offset, told.tokens, strict=True)][:3] == told.tokens[:3]
    assert len(told.top_logprobs[-1]) == 2


def test_a_completion_streams_its_log_probabilities(client):
    whole = client.completions.create(model="tiny", prompt="What does", max_tokens=5, temperature=0, logprobs=1).choices[0].logprobs
    with client.completions.create(model="tiny", prompt="What does", max_tokens=5, temperature=0, logprobs=1, stream=True) as stream:
        streamed = [chunk.choices[0].logprobs for chunk in stream]

    assert [one.tokens[0] for one in streamed] == whole.tokens
    assert [one.token_logprobs[0] for one in streamed] == pytest.approx(whole.token_logprobs, abs=1e-5)


def test_an_echo_in_a_stream_is_refused(client):
    with refused("`echo` is not supported in a stream"):
        client.completions.create(model="tiny", prompt="What", echo=True, stream=True)
