"""TGI's routes, by huggingface_hub's client and by plain HTTP, in the shapes of TGI's own OpenAPI document."""

import gzip
import json

import httpx
import pytest
from huggingface_hub import InferenceClient
from jsonschema import Draft202012Validator

PROMPT = "What does itertools"
CHAT = {"messages": [{"role": "user", "content": PROMPT}]}


@pytest.fixture(scope="module")
def http(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def client(url, monkeypatch):
    # offline, it refuses our own server as well; the tests' guard against the network stays
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return InferenceClient(model=url, timeout=60)


@pytest.fixture(scope="module")
def shapes(test_data):
    """Checks a value against a schema of TGI's OpenAPI document."""
    document = json.loads((test_data / "http-tgi" / "openapi.json").read_text())
    schemas = json.loads(json.dumps(document["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/"))
    for schema in schemas.values():
        adapt(schema)

    def check(value, name):
        Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schemas}).validate(value)

    return check


def adapt(schema):
    """OpenAPI 3.0 says `nullable: true` where JSON Schema has a type; its oneOf of look-alikes is meant as anyOf."""
    for name, value in list(schema.get("properties", {}).items()):
        adapt(value)
        if value.pop("nullable", False):
            schema["properties"][name] = {"anyOf": [value, {"type": "null"}]}
    for value in (schema.get("items"), *schema.get("allOf", ()), *schema.get("oneOf", ())):
        if isinstance(value, dict):
            adapt(value)
    if "oneOf" in schema:
        schema["anyOf"] = schema.pop("oneOf")


def events(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data: {")]


def test_the_huggingface_client_generates_with_details(client):
    answer = client.text_generation(PROMPT, max_new_tokens=6, details=True, decoder_input_details=True)

    assert answer.details.generated_tokens == len(answer.details.tokens) == 6
    assert answer.details.finish_reason == "length"
    assert answer.details.prefill[0].logprob is None
    assert all(token.logprob < 0 for token in answer.details.prefill[1:])
    assert "".join(token.text for token in answer.details.tokens if not token.special) == answer.generated_text


def test_the_huggingface_client_streams_what_it_generates(client):
    whole = client.text_generation(PROMPT, max_new_tokens=6)

    streamed = list(client.text_generation(PROMPT, max_new_tokens=6, stream=True, details=True))

    assert streamed[-1].generated_text == whole
    assert streamed[-1].details.generated_tokens == len(streamed) == 6
    assert all(part.generated_text is None for part in streamed[:-1])


def test_the_huggingface_client_chats(client):
    answer = client.chat_completion(CHAT["messages"], max_tokens=5, temperature=0)

    assert answer.usage.completion_tokens == 5


def test_the_huggingface_client_is_told_the_likeliest_tokens(client):
    answer = client.text_generation(PROMPT, max_new_tokens=4, details=True, top_n_tokens=3)

    assert [len(group) for group in answer.details.top_tokens] == [3] * 4
    assert [group[0]["id"] for group in answer.details.top_tokens] == [token.id for token in answer.details.tokens]


def test_return_full_text_puts_the_prompt_in_front(http):
    plain = http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 4}}).json()
    full = http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 4, "return_full_text": True}}).json()

    assert full["generated_text"] == PROMPT + plain["generated_text"]


def test_a_stop_sequence_is_the_end_of_the_text(http):
    whole = http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 20}}).json()["generated_text"]
    stop = whole[8:11]

    answer = http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 20, "stop": [stop], "details": True}}).json()

    assert answer["generated_text"] == whole[: whole.index(stop) + len(stop)]
    assert answer["details"]["finish_reason"] == "stop_sequence"


def test_truncate_keeps_the_end_of_the_prompt(http):
    ids = [token["id"] for token in http.post("/tokenize", json={"inputs": PROMPT}).json()]

    answer = http.post(
        "/generate",
        json={"inputs": PROMPT, "parameters": {"max_new_tokens": 1, "truncate": 2, "details": True, "decoder_input_details": True}},
    ).json()

    assert [token["id"] for token in answer["details"]["prefill"]] == ids[-2:]


def test_sampling_settings_change_the_answer_and_a_seed_repeats_it(http):
    def generate(**parameters):
        return http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 12, **parameters}}).json()["generated_text"]

    greedy = generate()

    assert generate(do_sample=True, top_k=1) == greedy
    assert generate(temperature=1.5, seed=1) == generate(temperature=1.5, seed=1) != greedy
    assert generate(repetition_penalty=50.0) != greedy
    assert generate(typical_p=0.5, seed=3) == generate(typical_p=0.5, seed=3)


@pytest.mark.parametrize("route", ["/", "/invocations"])
def test_the_compatible_routes_answer_with_a_list_and_stream_when_asked(http, route):
    whole = http.post(route, json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3}}).json()
    streamed = events(http.post(route, json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3}, "stream": True}))

    assert streamed[-1]["generated_text"] == whole[0]["generated_text"]


def test_invocations_takes_every_shape(http):
    chat = http.post("/invocations", json={**CHAT, "max_tokens": 2}).json()
    completion = http.post("/invocations", json={"prompt": PROMPT, "max_tokens": 2}).json()

    assert chat["choices"][0]["message"]["role"] == "assistant"
    assert completion["object"] == "text_completion"


def test_tokens_say_where_they_come_from(http):
    tokens = http.post("/tokenize", json={"inputs": PROMPT}).json()

    assert "".join(token["text"] for token in tokens) == PROMPT
    assert [PROMPT[token["start"] : token["stop"]] for token in tokens] == [token["text"] for token in tokens]


def test_a_chat_is_shown_as_the_model_sees_it(http):
    shown = http.post("/chat_tokenize", json=CHAT).json()

    assert shown["templated_text"] == f"<|user|>{PROMPT}<|end|><|assistant|>"
    assert "".join(token["text"] for token in shown["tokenize_response"]) == shown["templated_text"]


def test_the_server_says_what_it_is(http, endpoint):
    shown = http.get("/info").json()

    assert (shown["model_id"], shown["max_total_tokens"], shown["max_input_tokens"]) == ("tiny", 256, 255)
    assert http.get("/health").status_code == http.get("/ping").status_code == 200


def test_metrics_count_what_was_answered(http):
    def success():
        lines = http.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("tgi_request_success "))

    before = success()
    http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 1}})

    assert success() == before + 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": PROMPT, "parameters": {"max_new_tokens": 0}}, "parameters.max_new_tokens"),
        ({"inputs": PROMPT, "parameters": {"temperature": 0}}, "parameters.temperature"),
        ({"inputs": PROMPT, "parameters": {"top_p": 1.5}}, "parameters.top_p"),
        ({"inputs": PROMPT, "parameters": {"stop": ["a", "b", "c", "d", "e"]}}, "up to 4 stop sequences. Given: 5"),
        ({"inputs": PROMPT, "parameters": {"best_of": 2}}, "`best_of` is not supported"),
        ({"inputs": PROMPT, "parameters": {"grammar": {"type": "regex", "value": "a"}}}, "`grammar` is not supported"),
        ({"inputs": PROMPT, "parameters": {"watermark": True}}, "`watermark` is not supported"),
        ({"inputs": PROMPT, "parameters": {"adapter_id": "x"}}, "`adapter_id` x is not served here (known: none)"),
        ({"inputs": PROMPT, "parameters": {"top_n_tokens": 50}}, "parameters.top_n_tokens"),
        ({"inputs": PROMPT, "parameters": {"max_tokens": 3}}, "parameters.max_tokens"),
        ({"inputs": ""}, "`inputs` cannot be empty"),
        ({}, "`inputs`"),
        ([1], "dictionary"),
    ],
)
@pytest.mark.parametrize("route", ["/generate", "/generate_stream", "/"])
def test_a_request_that_cannot_be_answered_is_refused_in_tgis_shape(http, route, body, words):
    response = http.post(route, json=body)

    assert response.status_code == 422
    assert response.json()["error_type"] == "validation"
    assert words in response.json()["error"]
    assert response.headers["x-request-id"]


def test_a_prompt_is_never_in_an_error(http):
    response = http.post("/generate", json={"inputs": ["my secret"]})

    assert response.status_code == 422
    assert "secret" not in response.text


def test_a_body_that_is_no_json_is_refused(http):
    assert http.post("/generate", content=b"{").json()["error"].startswith("Input validation error: the body is not JSON")
    assert http.post("/generate", content=b"[" * 200_000).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": "\\ud800"}',
        b'{"inputs": "a", "parameters": {"temperature": Infinity}}',
        b'{"inputs": "a", "parameters": {"temperature": NaN}}',
        b'{"inputs": "a", "parameters": {"temperature": 1e-300, "do_sample": true}}',
        b'{"inputs": "a", "parameters": {"repetition_penalty": 1e-300, "do_sample": true}}',
        b'{"inputs": "a", "parameters": {"seed": 9223372036854775808}}',
        b'{"inputs": "a", "parameters": {"max_new_tokens": 1e30}}',
        b"\xff\xfe",
    ],
)
def test_hostile_values_are_refused_and_harm_nobody_else(http, body):
    assert http.post("/generate", content=body).status_code == 422
    assert http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 1}}).status_code == 200


@pytest.mark.parametrize(
    "extreme", [{"top_k": 10**18}, {"temperature": 1e-6}, {"temperature": 1e30}, {"repetition_penalty": 1e6}, {"top_p": 1e-9}]
)
def test_extreme_settings_within_bounds_are_answered(http, extreme):
    answer = http.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3, "do_sample": True, **extreme}})

    assert answer.status_code == 200, answer.text


def test_a_body_that_is_too_large_is_refused(http):
    response = http.post("/generate", json={"inputs": "x" * 2_100_000})

    assert (response.status_code, response.json()["error_type"]) == (413, "http")


def test_a_request_id_that_is_none_is_refused(http):
    response = http.post("/generate", json={"inputs": PROMPT}, headers={"x-request-id": "two words"})

    assert "x-request-id" in response.json()["error"]


def test_unknown_routes_and_methods_have_their_codes(http):
    assert (http.get("/generate").status_code, http.post("/nowhere").status_code) == (405, 404)


def test_every_answer_has_the_shape_of_tgis_document(http, shapes):
    details = {"max_new_tokens": 3, "details": True, "decoder_input_details": True, "top_n_tokens": 2}
    chat = {**CHAT, "max_tokens": 3, "logprobs": True, "top_logprobs": 2}

    shapes(http.post("/generate", json={"inputs": PROMPT, "parameters": details}).json(), "GenerateResponse")
    shapes(http.post("/", json={"inputs": PROMPT, "parameters": details}).json()[0], "GenerateResponse")
    for one in events(http.post("/generate_stream", json={"inputs": PROMPT, "parameters": details})):
        shapes(one, "StreamResponse")
    shapes(http.post("/v1/chat/completions", json=chat).json(), "ChatCompletion")
    for one in events(http.post("/v1/chat/completions", json={**chat, "stream": True, "stream_options": {"include_usage": True}})):
        shapes(one, "ChatCompletionChunk")
    shapes(http.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 3}).json(), "CompletionFinal")
    for one in events(http.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 3, "stream": True})):
        shapes(one, "Chunk")
    shapes(http.post("/tokenize", json={"inputs": PROMPT}).json(), "TokenizeResponse")
    shapes(http.post("/chat_tokenize", json=CHAT).json(), "ChatTokenizeResponse")
    shapes(http.get("/info").json(), "Info")
    shapes(http.get("/v1/models").json()["data"][0], "ModelInfo")
    shapes(http.post("/generate", json={}).json(), "ErrorResponse")


def test_the_check_of_shapes_can_fail(shapes, test_data):
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        shapes({"generated_text": 3}, "GenerateResponse")
    lines = gzip.decompress((test_data / "http-tgi" / "snapshots.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    recorded = next(row["response"] for row in rows if row["name"] == "test_bloom_560m")
    del recorded["details"]["top_tokens"]  # TGI itself sends null where its document allows none
    shapes(recorded, "GenerateResponse")
