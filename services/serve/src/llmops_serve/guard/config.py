"""Settings of the guard."""

from typing import Literal

from pydantic import Field

from llmops_shared.config import Config
from llmops_shared.pii import KINDS, PiiKind


class BedrockGuardrail(Config):
    """A guardrail of Amazon Bedrock, asked about every prompt and every answer."""

    guardrail_id: str = Field(pattern=r"^(?:[a-z0-9]+|arn:aws[a-z0-9-]*:bedrock:[a-z0-9-]+:\d{12}:guardrail/[a-z0-9]+)$")
    """Its id or ARN."""
    version: str = Field(pattern=r"^(?:[1-9]\d{0,7}|DRAFT)$")
    """Its version."""
    region: str | None = Field(default=None)
    """Region it is in; not given: the environment's."""
    endpoint_url: str | None = Field(default=None)
    """Another address of the service, such as a VPC endpoint's; not given: the region's."""


class GuardConfig(Config):
    """What requests and answers may not hold. All of it is off unless it is set."""

    injection: Literal["off", "refuse"] = Field(default="off")
    """`refuse`: prompts that order the model to forget its instructions, tell them, or play a role without rules."""
    injection_threshold: float = Field(default=0.8, gt=0, le=1)
    """How sure the rules have to be, 0 to 1; lower refuses more, of honest prompts as well."""
    pii: Literal["off", "mask", "refuse"] = Field(default="off")
    """Personal data in prompts: `mask` puts the kind in its place before the model sees it."""
    pii_in_answers: Literal["off", "mask", "refuse"] = Field(default="off")
    """Personal data in answers. An answer is then read whole before anything of it is sent, so a stream comes as one piece."""
    pii_kinds: tuple[PiiKind, ...] = Field(default=KINDS, min_length=1)
    """Kinds of personal data to look for, in Amazon Comprehend's names."""
    blocked_topics: dict[str, list[str]] = Field(default={})
    """By name of the topic: words and phrases, one of which a prompt about it has, as whole words in any case."""
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a prompt before it is refused as too long, with 422; not given: what the model takes. Where requests are handed on to a
    server as they are, a prompt counts as at least a token for every eight bytes."""
    refusal: str = Field(default="I cannot help with that.", min_length=1)
    """The answer in place of the model's."""
    bedrock: BedrockGuardrail | None = Field(default=None)
    """A guardrail of Amazon Bedrock; asked after the rules."""
