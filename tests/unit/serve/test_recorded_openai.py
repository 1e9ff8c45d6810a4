"""OpenAI's published requests and schemas, and DJL's prompts: what others recorded, asked of our server."""

import gzip
import json
from itertools import islice
from operator import itemgetter

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

NUM_PROMPTS = 100


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def nullable(schema):
    """A schema of today from one that still says `nullable`, as OpenAPI 3.0 did."""
    return {"anyOf": [{"type": "null"}, schema]} if schema.pop("nullable", False) is True else schema


@pytest.fixture(scope="module")
def conforms(test_data):
    """Checks a document against a schema of OpenAI's by its name."""
    with gzip.open(test_data / "http-openai/openai-subset.openapi.json.gz") as content:
        document = json.load(content, object_hook=nullable)
    registry = Registry().with_resource("urn:openai", Resource.opaque(document))

    def check(name, found):
        validator = Draft202012Validator({"$ref": f"urn:openai#/components/schemas/{name}"}, registry=registry)
        assert [error.message for error in validator.iter_errors(found)] == []

    return check


def published(test_data, path, title):
    """The body of a published request; its curl command quotes it with '."""
    examples = map(json.loads, (test_data / "http-openai/examples.jsonl").read_text().splitlines())
    (found,) = [one["request"] for one in examples if (one["path"], one["title"]) == (path, title)]
    body = json.loads(found.split("-d '")[1].rpartition("'")[0])
    # the template of the tiny model takes no system messages, as Gemma's does not
    asked = {"messages": [message for message in body["messages"] if message["role"] == "user"]} if "messages" in body else {}
    return {**body, **asked, "max_tokens": 4}


def test_a_published_chat_is_answered_in_the_published_schema(client, test_data, conforms):
    answer = client.post("/v1/chat/completions", json=published(test_data, "/chat/completions", "Default"))

    assert answer.status_code == 200, answer.text
    conforms("CreateChatCompletionResponse", answer.json())


@pytest.mark.parametrize(
    ("path", "schema"), [("/chat/completions", "CreateChatCompletionStreamResponse"), ("/completions", "CreateCompletionResponse")]
)
def test_every_event_of_a_published_stream_is_in_the_published_schema(client, test_data, conforms, path, schema):
    answer = client.post(f"/v1{path}", json=published(test_data, path, "Streaming"))

    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert answer.status_code == 200, answer.text
    assert events.pop() == "[DONE]"
    assert len(events) >= 4
    for event in map(json.loads, events):
        for choice in event["choices"]:
            if choice["finish_reason"] == "":  # TGI's word for an answer that goes on; OpenAI's schema has none, and its example null
                choice["finish_reason"] = "stop"
        conforms(schema, event)


def test_the_models_are_listed_in_the_published_schema(client, conforms):
    conforms("ListModelsResponse", client.get("/v1/models").json())


def test_a_published_request_with_tools_is_refused_by_their_name(client, test_data):
    answer = client.post("/v1/chat/completions", json=published(test_data, "/chat/completions", "Functions"))

    assert (answer.status_code, "tools" in answer.text) == (422, True), answer.text


def test_the_tokens_of_djls_prompts_lie_where_they_say(client, test_data):
    with gzip.open(test_data / "http-djl-prompts/prompts.jsonl.gz", "rt") as lines:
        prompts = [json.loads(line)["text"] for line in islice(lines, NUM_PROMPTS)]

    for prompt in prompts:
        tokens = client.post("/tokenize", json={"inputs": prompt}).json()
        spans = [itemgetter("start", "stop", "text")(token) for token in tokens]
        assert all(prompt[start:stop] == text for start, stop, text in spans)
        # the tokens of a character that has several all lie where it lies
        places = list(dict.fromkeys((start, stop) for start, stop, _ in spans))
        assert "".join(prompt[start:stop] for start, stop in places) == prompt
