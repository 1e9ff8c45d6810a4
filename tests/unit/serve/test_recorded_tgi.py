"""What TGI's own tests recorded of its answers and streams, played by a server behind the gateway and read by its clients."""

import contextlib
import gzip
import itertools
import json

import httpx
import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI

from llmops_serve.cli import main
from llmops_serve.config import RunConfig
from llmops_shared.contracts import Exchange
from support.model_servers import Answer, model_server, server_sent
from support.serving import serving

ASKED = {"model": "remote", "messages": [{"role": "user", "content": "What is the weather like in Brooklyn?"}], "max_tokens": 200}
TOOL = {"type": "function", "function": {"name": "get_current_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def recorded(test_data):
    """(name, response) of each recording; what was recorded several times is several responses."""
    rows = [json.loads(line) for line in gzip.decompress((test_data / "http-tgi" / "snapshots.jsonl.gz").read_bytes()).splitlines()]
    return [(row["name"], row["response"]) for row in rows]


@pytest.fixture(scope="module")
def whole_chats(recorded):
    responses = itertools.chain(*(one if isinstance(one, list) else [one] for _, one in recorded))
    return [one for one in responses if one.get("object") == "chat.completion"]


@pytest.fixture(scope="module")
def streamed_chats(recorded):
    """Streams as they were sent; those with tools were recorded without the event that ends them."""
    found = []
    for _, events in recorded:
        if not (isinstance(events, list) and events and events[0].get("object") == "chat.completion.chunk"):
            continue
        if events[-1]["choices"][0]["finish_reason"] is None:
            choice = {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "tool_calls": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
            events = [*events, {**events[-1], "choices": [choice]}]
        found.append(events)
    return found


@pytest.fixture(scope="module")
def generated(recorded):
    """Answers of `/generate` with their tokens."""
    responses = itertools.chain(*(one if isinstance(one, list) else [one] for _, one in recorded))
    return [one for one in responses if "details" in one and one["details"]["tokens"]]


@contextlib.contextmanager
def played(packages, folder, answers, pieces=1):
    """(URL, what was asked) of a gateway before a TGI that gives these answers, one after the other."""
    from llmops_serve.server import realized

    said = iter(answers)
    with model_server(lambda _: next(said)._replace(pieces=pieces)) as (url, asked):
        words = [f"package={packages}/first", "engine=tgi", f"urls=[{url}]", f"capture={folder}/exchanges", f"out={folder}/e"]
        assert main(["deploy", "name=remote", *words]) == 0
        config = RunConfig(endpoint=f"{folder}/e", port=0, drain_timeout_s=1)
        with serving(lambda: realized(config), config) as running:
            yield running, asked


def read_log(folder):
    lines = [line for file in sorted((folder / "exchanges").rglob("*.jsonl")) for line in file.read_text().splitlines()]
    return [Exchange.model_validate_json(line) for line in lines]


def test_recorded_chats_reach_their_clients_byte_for_byte(packages, tmp_path, whole_chats):
    answers = [Answer(json.dumps(one).encode(), content_type="application/json") for one in whole_chats]
    with played(packages, tmp_path, answers) as (url, asked), OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        raw = [client.chat.completions.with_raw_response.create(**ASKED, tools=[TOOL]) for _ in answers]

    assert len(raw) > 100
    assert [one.content for one in raw] == [answer.body for answer in answers]
    found = [one.parse().choices[0] for one in raw]
    said = [one["choices"][0]["message"] for one in whole_chats]
    assert [one.message.content for one in found] == [one["content"] for one in said]
    assert any(one.message.tool_calls for one in found) and any(one.message.content for one in found)
    assert asked[-1].body["tools"] == [TOOL]
    log = read_log(tmp_path)
    assert [one.response for one in log] == [one["content"] or "" for one in said]
    assert [one.num_response_tokens for one in log] == [one["usage"]["completion_tokens"] for one in whole_chats]


@pytest.mark.parametrize("pieces", [1, 40])
def test_recorded_chat_streams_reach_their_clients_event_for_event(packages, tmp_path, streamed_chats, pieces):
    answers = [Answer(server_sent(*events, done=True)) for events in streamed_chats]
    with played(packages, tmp_path, answers, pieces) as (url, _), httpx.Client(base_url=url, timeout=20) as client:
        found = [client.post("/v1/chat/completions", json={**ASKED, "tools": [TOOL], "stream": True}).text for _ in answers]

    assert len(found) == 6
    assert found == [answer.body.decode() for answer in answers]
    said = ["".join(event["choices"][0]["delta"]["content"] or "" for event in events) for events in streamed_chats]
    assert [one.response for one in read_log(tmp_path)] == said
    ends = [events[-1]["choices"][0]["finish_reason"] for events in streamed_chats]
    assert [(one.finish_reason, one.error) for one in read_log(tmp_path)] == [(end, None) for end in ends]


def test_recorded_chat_streams_are_read_by_openais_client(packages, tmp_path, streamed_chats):
    answers = [Answer(server_sent(*events, done=True)) for events in streamed_chats]
    with played(packages, tmp_path, answers, 7) as (url, _), OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        found = [list(client.chat.completions.create(**ASKED, tools=[TOOL], stream=True)) for _ in answers]

    for chunks, events in zip(found, streamed_chats, strict=True):
        assert [chunk.choices[0].delta.content for chunk in chunks] == [event["choices"][0]["delta"]["content"] for event in events]
        calls = [call.function.arguments for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        recorded = [call["function"]["arguments"] for event in events for call in event["choices"][0]["delta"].get("tool_calls") or []]
        assert calls == recorded


def events_of(response):
    """`/generate_stream`'s events of an answer that was recorded whole."""
    details, tokens = response["details"], response["details"]["tokens"]
    tops = details.get("top_tokens") or [[]] * len(tokens)
    events = [
        {"index": index, "token": token, "top_tokens": top, "generated_text": None, "details": None}
        for index, (token, top) in enumerate(zip(tokens, tops, strict=True), 1)
    ]
    ended = {name: details[name] for name in ("finish_reason", "generated_tokens", "seed")}
    events[-1] |= {"generated_text": response["generated_text"], "details": ended}
    return events


def test_recorded_tokens_come_as_they_were_said(packages, tmp_path, generated):
    answers = [Answer(server_sent(*events_of(response))) for response in generated]
    asked = {"inputs": "What is deep learning?", "parameters": {"max_new_tokens": 100, "details": True}}
    with played(packages, tmp_path, answers, 3) as (url, _), httpx.Client(base_url=url, timeout=20) as client:
        found = [client.post("/generate", json=asked).json() for _ in answers]

    assert len(found) > 150
    for one, response in zip(found, generated, strict=True):
        tokens = response["details"]["tokens"]
        # a recording that echoes its prompt, or cuts its answer's first space, has that in `generated_text` and not in its tokens
        assert one["generated_text"] == "".join(token["text"] for token in tokens if not token["special"])
        assert [(token["id"], token["special"]) for token in one["details"]["tokens"]] == [
            (token["id"], token["special"]) for token in tokens
        ]
        assert one["details"]["finish_reason"] == response["details"]["finish_reason"]


def test_recorded_tokens_are_streamed_to_hugging_faces_client(packages, tmp_path, generated, monkeypatch):
    # offline, it refuses our own server as well; the tests' guard against the network stays
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    some = generated[::10]
    with played(packages, tmp_path, [Answer(server_sent(*events_of(one))) for one in some], 5) as (url, _):
        client = InferenceClient(url)
        found = [list(client.text_generation("What is it?", max_new_tokens=100, stream=True, details=True)) for _ in some]

    for events, response in zip(found, some, strict=True):
        assert [event.token.id for event in events] == [token["id"] for token in response["details"]["tokens"]]
        assert events[-1].details.finish_reason == response["details"]["finish_reason"]


def test_a_client_sends_back_the_message_it_received(packages, tmp_path, url, whole_chats):
    """As OpenAI's client has it, `model_dump()`: to a model of ours, and handed on to a server."""
    recorded = next(one for one in whole_chats if one["choices"][0]["message"]["content"])
    answers = [Answer(json.dumps(recorded).encode(), content_type="application/json")] * 2
    with played(packages, tmp_path, answers) as (handed_on, asked):
        for base in (url, handed_on):
            with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
                first = client.chat.completions.create(**{**ASKED, "max_tokens": 4}, temperature=0)
                message = first.choices[0].message
                turns = [*ASKED["messages"], message.model_dump(), {"role": "user", "content": "And now?"}]
                second = client.chat.completions.create(**{**ASKED, "messages": turns, "max_tokens": 4}, temperature=0)
            assert message.refusal is None and "refusal" in message.model_dump()
            assert second.choices[0].message.content

    said = {"role": "assistant", "content": recorded["choices"][0]["message"]["content"]}
    assert asked[-1].body["messages"] == [ASKED["messages"][0], said, {"role": "user", "content": "And now?"}]
    assert [turn.content for turn in read_log(tmp_path)[-1].messages][1] == said["content"]


@pytest.mark.parametrize(
    ("turn", "status"),
    [
        ({"content": None, "refusal": "No."}, 200),
        ({"content": "Yes.", "refusal": None, "tool_calls": [], "annotations": []}, 200),
        ({"content": None, "refusal": None}, 422),
        ({"content": "", "tool_calls": [{"id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, 422),
    ],
)
def test_what_an_assistant_may_have_said(url, turn, status):
    turns = [{"role": "user", "content": "Do it."}, {"role": "assistant", **turn}, {"role": "user", "content": "And now?"}]
    answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": turns, "max_tokens": 2}, timeout=60)

    assert answer.status_code == status, answer.text
    assert answer.status_code == 422 or answer.json()["choices"][0]["message"]["refusal"] is None
