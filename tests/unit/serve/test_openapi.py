"""`GET /openapi.json`: our own document, which names every route there is, and all that TGI's document has."""

import json

import httpx
import pytest

from llmops_serve.app import GET, POST
from support.serving import ScriptedEngine, make_gateway, scripted, serving, settings


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    gateway = make_gateway(tmp_path_factory.mktemp("model"), {"production": ScriptedEngine()})
    config = settings()
    with serving(lambda: scripted(gateway, config), config) as url:
        return httpx.get(f"{url}/openapi.json", timeout=60).json()


def test_every_route_is_in_the_document_and_no_other(document):
    described = {(method, path) for path, item in document["paths"].items() for method in item}

    assert described == {("get", path) for path in GET} | {("post", path) for path in POST}


def test_the_document_is_openapi(document):
    from openapi_spec_validator import validate

    validate(document)


def test_what_tgis_document_names_is_in_ours(document, test_data):
    tgis = json.loads((test_data / "http-tgi" / "openapi.json").read_text())
    never = {"500", "404"}  # no internal errors to promise, and no server without a tokenizer or a model

    for path, item in tgis["paths"].items():
        for method, operation in item.items():
            ours = document["paths"][path][method]
            assert set(operation["responses"]) - never <= set(ours["responses"]), path
            assert ("requestBody" in operation) == ("requestBody" in ours)
    for theirs, name in (
        ("GenerateParameters", "GenerateParameters"),
        ("CompletionRequest", "CompletionBody"),
        ("ChatRequest", "ChatBody"),
    ):
        missing = tgis["components"]["schemas"][theirs]["properties"].keys() - document["components"]["schemas"][name]["properties"].keys()
        assert missing <= LEFT_OUT[theirs], (theirs, missing)


LEFT_OUT = {
    "GenerateParameters": set(),
    "CompletionRequest": set(),
    "ChatRequest": {"tool_prompt"},  # of tools, which are refused
}


def test_what_a_body_may_be_is_what_is_taken(document):
    completion = document["components"]["schemas"]["CompletionBody"]["properties"]["prompt"]

    assert {one["type"] for one in completion["anyOf"]} == {"string", "array"}
