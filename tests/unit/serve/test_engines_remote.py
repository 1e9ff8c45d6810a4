"""A gateway before TGI, vLLM, LMI and SageMaker: one HTTP face, whatever the server behind speaks. The servers are recorded shapes."""

import contextlib
import gzip
import json

import httpx
import pytest
from openai import OpenAI

from llmops_serve.cli import main
from llmops_serve.config import RunConfig
from support.model_servers import (
    Answer,
    event_stream,
    json_lines,
    model_server,
    payload_parts,
    server_sent,
    stream_exception,
)
from support.serving import serving

PROMPT = "What does itertools"
PIECES = [" alpha", " béta", " gamma"]
TEXT = "".join(PIECES)


def tgi(pieces=PIECES, finish="length", **extra):
    """TGI's StreamResponses."""
    events = []
    for index, text in enumerate(pieces, 1):
        token = {"id": 40 + index, "text": text, "logprob": -0.25 * index, "special": False}
        events.append({"index": index, "token": token, "generated_text": None, "details": None, **extra})
    events[-1] |= {"generated_text": "".join(pieces), "details": {"finish_reason": finish, "generated_tokens": len(pieces), "seed": None}}
    return events


def vllm(pieces=PIECES, finish="length", stop_reason=None):
    """vLLM's completion chunks; the second has two tokens, as it sends when it is asked faster than it answers."""
    chunks = []
    for index, text in enumerate(pieces, 1):
        tokens = [f"token_id:{40 + index}"] * (2 if index == 2 else 1)
        best = [{token: -0.5, "token_id:7": -1.5} for token in tokens]
        logprobs = {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens), "text_offset": [0] * len(tokens), "top_logprobs": best}
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None, "stop_reason": None}
        chunks.append({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": None})
    chunks[-1]["choices"][0] |= {"finish_reason": finish, "stop_reason": stop_reason}
    return chunks


def lmi(pieces=PIECES, finish="length"):
    """LMI's JSON lines."""
    lines = [{"token": {"id": 40 + index, "text": text, "log_prob": -0.25 * index}} for index, text in enumerate(pieces, 1)]
    lines[-1] |= {"generated_text": "".join(pieces), "details": {"finish_reason": finish, "generated_tokens": len(pieces), "inputs": None}}
    return lines


ANSWERS = {"tgi": server_sent(*tgi()), "vllm": server_sent(*vllm(), done=True), "lmi-vllm": json_lines(*lmi())}
ROUTES = {"tgi": "/generate_stream", "vllm": "/v1/completions", "lmi-vllm": "/invocations"}


@contextlib.contextmanager
def gateway(packages, tmp_path, engine, url, *words):
    """A client of a gateway before one server."""
    from llmops_serve.server import realized

    assert (
        main(["deploy", "name=remote", f"package={packages}/first", f"engine={engine}", f"urls=[{url}]", f"out={tmp_path}/e", *words]) == 0
    )
    config = RunConfig(endpoint=f"{tmp_path}/e", port=0, drain_timeout_s=1)
    with serving(lambda: realized(config), config) as running, httpx.Client(base_url=running, timeout=20) as client:
        yield client


@contextlib.contextmanager
def before(packages, tmp_path, engine, answer):
    """(client of a gateway, what its server was asked)."""
    with model_server(answer) as (url, asked), gateway(packages, tmp_path, engine, url) as client:
        yield client, asked


def generate(client, **parameters):
    return client.post("/generate", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3, "details": True, **parameters}})


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("engine", ANSWERS)
def test_an_answer_is_the_same_whatever_server_gave_it_and_in_whatever_pieces(packages, tmp_path, engine, pieces):
    with before(packages, tmp_path, engine, lambda _: Answer(ANSWERS[engine], pieces=pieces)) as (client, asked):
        answer = generate(client)
        chat = {"model": "x", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
        with OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as openai:
            streamed = list(openai.chat.completions.create(**chat, stream=True, temperature=0))

    assert answer.status_code == 200, answer.text
    assert answer.json()["generated_text"] == TEXT
    assert answer.json()["details"]["finish_reason"] == "length"
    assert answer.json()["details"]["tokens"][0]["id"] == 41
    assert "".join(chunk.choices[0].delta.content for chunk in streamed) == TEXT
    assert [request.path for request in asked] == [ROUTES[engine]] * 2


def test_what_each_server_is_asked(packages, tmp_path):
    sampled = {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 3, "stop": ["END"], "repetition_penalty": 1.2}
    asked = {}
    for engine, body in ANSWERS.items():
        with before(packages, tmp_path / engine, engine, lambda _, body=body: Answer(body)) as (client, requests):
            assert generate(client, **sampled).status_code == 200
            ids = [token["id"] for token in client.post("/tokenize", json={"inputs": PROMPT}).json()]
            asked[engine] = requests[0].body

    common = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 3, "stop": ["END"]}
    assert asked["tgi"] == {"inputs": PROMPT, "parameters": {"max_new_tokens": 3, "do_sample": True, **common, "details": True}}
    assert asked["vllm"] == {
        "prompt": ids,
        "max_tokens": 3,
        "stream": True,
        "logprobs": 1,
        "return_tokens_as_token_ids": True,
        "include_stop_str_in_output": True,
        **common,
    }
    assert asked["lmi-vllm"] == {
        "inputs": PROMPT,
        "parameters": {"max_new_tokens": 3, "do_sample": True, "details": True, "include_stop_str_in_output": True, **common},
        "stream": True,
    }


@pytest.mark.parametrize(
    ("engine", "status", "body", "expected"),
    [
        ("tgi", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, (429, "overloaded")),
        ("tgi", 422, {"error": "Input validation error: too long", "error_type": "validation"}, (422, "validation")),
        ("tgi", 424, {"error": "Request failed during generation", "error_type": "generation"}, (424, "generation")),
        ("vllm", 400, {"error": {"message": "max_tokens is too large", "type": "BadRequestError", "code": 400}}, (422, "validation")),
        ("lmi-vllm", 503, {"code": 503, "message": "No worker is available"}, (424, "generation")),
    ],
)
def test_a_servers_refusal_has_tgis_code_and_its_words(packages, tmp_path, engine, status, body, expected):
    refusal = Answer(json.dumps(body).encode(), status, "application/json")
    with before(packages, tmp_path, engine, lambda _: refusal) as (client, _):
        answer = generate(client)

    words = body.get("error", body.get("message"))
    assert (answer.status_code, answer.json()["error_type"]) == expected
    if answer.status_code != 429:
        assert (words["message"] if isinstance(words, dict) else words) in answer.json()["error"]
    else:
        assert answer.headers["retry-after"] == "1"


BROKEN = {
    "an error event": ("tgi", server_sent(*tgi()[:1], {"error": "CUDA error", "error_type": "generation"}), "CUDA error"),
    "an end too early": ("tgi", server_sent(*tgi()[:2]), "ended before the answer did"),
    "no JSON": ("tgi", b"data: {nonsense\n\n", "no JSON"),
    "LMI's error": ("lmi-vllm", json_lines(*lmi()[:1], {"token": {"id": 0, "text": "", "log_prob": 0}, "details": {"finish_reason": "error"}}), "failed"),
    "vLLM's error": ("vllm", server_sent(*vllm()[:1], {"error": {"message": "engine died", "code": 500}}), "engine died"),
    "vLLM without ids": ("vllm", server_sent({"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1]}}]}), "update vLLM"),
}  # fmt: skip


@pytest.mark.parametrize(("engine", "body", "words"), BROKEN.values(), ids=BROKEN)
def test_a_stream_that_breaks_is_an_error_and_no_short_answer(packages, tmp_path, engine, body, words):
    with before(packages, tmp_path, engine, lambda _: Answer(body)) as (client, _):
        answer = generate(client)
        stream = client.post("/generate_stream", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3}})

    assert (answer.status_code, answer.json()["error_type"]) == (424, "generation")
    assert words in answer.json()["error"]
    assert words in stream.text


def test_a_connection_that_closes_in_the_middle_is_an_error(packages, tmp_path):
    half = Answer(server_sent(*tgi()[:2]), breaks_off=True)
    with before(packages, tmp_path, "tgi", lambda _: half) as (client, _):
        assert generate(client).status_code == 424


def test_what_a_server_cannot_do_is_refused_before_it_is_asked(packages, tmp_path):
    with before(packages, tmp_path, "lmi-vllm", lambda _: Answer(ANSWERS["lmi-vllm"])) as (client, asked):
        answer = generate(client, decoder_input_details=True)

    assert (answer.status_code, asked) == (422, [])
    assert "`decoder_input_details` is not supported by DJL's LMI" in answer.json()["error"]


def test_why_an_answer_ended_is_told_in_tgis_words(packages, tmp_path):
    ends = {"a stop sequence": vllm(finish="stop", stop_reason="END"), "the model's own end": vllm(finish="stop")}
    found = {}
    for number, (name, chunks) in enumerate(ends.items()):
        with before(packages, tmp_path / str(number), "vllm", lambda _, chunks=chunks: Answer(server_sent(*chunks, done=True))) as (
            client,
            _,
        ):
            found[name] = generate(client).json()["details"]["finish_reason"]

    assert found == {"a stop sequence": "stop_sequence", "the model's own end": "eos_token"}


def test_a_server_that_is_not_there_is_told_at_start(packages, tmp_path, capsys):
    assert main(["deploy", "name=remote", f"package={packages}/first", "engine=tgi", "urls=[http://127.0.0.1:9]", f"out={tmp_path}/e"]) == 0

    assert main(["run", f"endpoint={tmp_path}/e", "port=0"]) == 2
    assert "http://127.0.0.1:9: cannot be reached" in capsys.readouterr().err


def test_a_container_without_a_url_is_told_at_start(packages, tmp_path, capsys):
    assert main(["deploy", "name=remote", f"package={packages}/first", "engine=lmi-vllm", f"out={tmp_path}/e"]) == 0

    assert main(["run", f"endpoint={tmp_path}/e", "port=0"]) == 2
    assert "engine lmi-vllm runs in a container and the document names none that is up" in capsys.readouterr().err


@pytest.fixture
def aws(monkeypatch):
    """Sends boto3's calls to a server of ours."""

    def to(url):
        for name in ("SAGEMAKER_RUNTIME", "SAGEMAKER"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", url)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    return to


@contextlib.contextmanager
def sagemaker(packages, tmp_path, aws, engine, answer, target="assistant"):
    """(client of a gateway before a SageMaker endpoint, what the runtime was asked)."""
    with model_server(answer) as (url, asked):
        aws(url)
        with gateway(packages, tmp_path, engine, f"sagemaker://{target}") as client:
            yield client, asked


def from_aws(body):
    return Answer(body, content_type="application/vnd.amazon.eventstream", pieces=5)


@pytest.mark.parametrize("parts", [1, 11])
@pytest.mark.parametrize("engine", ANSWERS)
def test_a_response_stream_of_sagemaker_is_translated_however_its_parts_cut_the_lines(packages, tmp_path, aws, engine, parts):
    body = event_stream(*payload_parts(ANSWERS[engine], parts))
    with sagemaker(packages, tmp_path, aws, engine, lambda _: from_aws(body)) as (client, asked):
        answer = generate(client)
        streamed = client.post("/generate_stream", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3}})

    assert answer.json()["generated_text"] == TEXT
    assert json.loads(streamed.text.splitlines()[-2].removeprefix("data: "))["generated_text"] == TEXT
    assert [request.path for request in asked] == ["/endpoints/assistant/invocations-response-stream"] * 2
    assert "inputs" in asked[0].body or "prompt" in asked[0].body
    assert asked[0].body["stream"] is True
    assert asked[0].headers["content-type"] == "application/json"
    assert asked[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=test/")


def test_a_variant_of_an_endpoint_can_be_named(packages, tmp_path, aws):
    body = event_stream(*payload_parts(ANSWERS["tgi"], 2))
    with sagemaker(packages, tmp_path, aws, "tgi", lambda _: from_aws(body), "assistant/tuned") as (client, asked):
        generate(client)

    assert asked[0].headers["x-amzn-sagemaker-target-variant"] == "tuned"


FAILURES = {
    "the container's failure in mid-stream": (stream_exception("ModelStreamError", Message="worker died", ErrorCode="500"), "worker died"),
    "the service's failure in mid-stream": (stream_exception("InternalStreamFailure", Message="try again"), "try again"),
}


@pytest.mark.parametrize(("failure", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failure_within_the_stream_is_told_after_what_was_said(packages, tmp_path, aws, failure, words):
    body = event_stream(*payload_parts(server_sent(*tgi()[:2]), 3), failure)
    with sagemaker(packages, tmp_path, aws, "tgi", lambda _: from_aws(body)) as (client, _):
        whole = generate(client)
        streamed = client.post("/generate_stream", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 3}}).text

    assert (whole.status_code, whole.json()["error_type"]) == (424, "generation")
    assert words in whole.json()["error"]
    assert PIECES[0] in streamed and words in streamed.splitlines()[-2]


@pytest.mark.parametrize(
    ("status", "kind", "members", "expected"),
    [
        (424, "ModelError", {"OriginalStatusCode": 429, "OriginalMessage": '{"error": "Model is overloaded"}'}, 429),
        (424, "ModelError", {"OriginalStatusCode": 422, "OriginalMessage": '{"error": "too many tokens"}'}, 422),
        (424, "ModelError", {"OriginalStatusCode": 500, "OriginalMessage": "out of memory"}, 424),
        (400, "ValidationError", {"Message": "Endpoint assistant of account not found."}, 424),
        (400, "ThrottlingException", {"Message": "Rate exceeded"}, 429),
    ],
)
def test_the_runtimes_errors_have_tgis_codes(packages, tmp_path, aws, status, kind, members, expected):
    def refuse(_):
        return Answer(json.dumps({"__type": kind, **members}).encode(), status, "application/json")

    with sagemaker(packages, tmp_path, aws, "tgi", refuse) as (client, asked):
        answer = generate(client)

    assert answer.status_code == expected, answer.text
    assert len(asked) == 1  # boto3 does not ask again behind our back


def test_tgis_recorded_answers_are_read(test_data):
    """Every token that TGI's own tests recorded for its streams and answers is a step of ours."""
    from llmops_serve.engines.tgi_dialect import TgiDialect

    rows = [json.loads(line) for line in gzip.decompress((test_data / "http-tgi" / "snapshots.jsonl.gz").read_bytes()).splitlines()]
    responses = [row["response"] for row in rows if isinstance(row["response"], dict) and "details" in row["response"]]
    dialect, counted = TgiDialect(None), 0
    for response in responses:
        details = response["details"]
        for index, token in enumerate(details["tokens"]):
            last = index == len(details["tokens"]) - 1
            event = {"token": token, "details": {"finish_reason": details["finish_reason"]} if last else None}
            (step,) = dialect.steps(event, index)
            assert (step.token_id, step.special, step.finish) == (token["id"], token["special"], details["finish_reason"] if last else None)
            counted += 1
    assert counted > 300
