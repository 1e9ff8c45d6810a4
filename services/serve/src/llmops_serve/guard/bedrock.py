"""Guardrails of Amazon Bedrock: ApplyGuardrail, which needs no model of Bedrock.

docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html
"""

from functools import cached_property
from typing import Any, Literal, NamedTuple

from llmops_serve.guard.config import BedrockGuardrail
from llmops_shared.aws_errors import explained
from llmops_shared.errors import LlmopsError


class Found(NamedTuple):
    """What a guardrail says to a text."""

    blocked: bool
    text: str
    """The text as it may be used: with personal data masked where the guardrail does so; of a blocked one the guardrail's message."""


class Guardrail:
    """One version of one guardrail."""

    def __init__(self, config: BedrockGuardrail) -> None:
        self._config = config

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError

        config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"}, max_pool_connections=64)
        try:
            return boto3.client("bedrock-runtime", region_name=self._config.region, endpoint_url=self._config.endpoint_url, config=config)
        except NoRegionError as error:
            raise LlmopsError("guard.bedrock needs a region; set guard.bedrock.region or AWS_REGION") from error

    def apply(self, text: str, source: Literal["INPUT", "OUTPUT"]) -> Found:
        """What the guardrail says to a prompt or an answer. Raises LlmopsError when it does not answer: nothing passes unread."""
        with explained(f"guardrail {self._config.guardrail_id} does not answer"):
            response = self._client.apply_guardrail(
                guardrailIdentifier=self._config.guardrail_id,
                guardrailVersion=self._config.version,
                source=source,
                content=[{"text": {"text": text}}],
            )
        if response["action"] == "NONE":
            return Found(False, text)
        outputs = "".join(output.get("text", "") for output in response.get("outputs", []))
        actions = set(actions_of(response.get("assessments", [])))
        return Found(not actions or "BLOCKED" in actions, outputs)


def actions_of(tree: Any) -> list[str]:
    """All actions in an assessment, whatever policy they are of; an anonymized text passes, a blocked one does not."""
    if isinstance(tree, list):
        return [action for item in tree for action in actions_of(item)]
    if isinstance(tree, dict):
        own = [tree["action"]] if isinstance(tree.get("action"), str) and tree["action"] != "NONE" else []
        return own + [action for value in tree.values() for action in actions_of(value)]
    return []
