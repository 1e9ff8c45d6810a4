"""Whom to ask: an OpenAI-compatible or TGI endpoint, Amazon Bedrock, or a model on this machine."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from llmops_shared.errors import LlmopsError
from llmops_train.evaluation.config import EndpointConfig, JudgeConfig
from llmops_train.evaluation.endpoint import HttpModel
from llmops_train.judging.prompt import Prompt

Judge = Callable[[Prompt], str]
"""From a prompt to the judge's reply. Raises LlmopsError when it cannot be asked."""


@contextlib.contextmanager
def open_judge(config: JudgeConfig) -> Iterator[Judge]:
    """The judge of the config."""
    match config.kind:
        case "bedrock":
            yield bedrock_judge(config)
        case "package":
            yield model_judge(config)
        case _:
            assert config.url is not None
            shared = config.model_dump(include={"url", "model", "api_key_file", "concurrency", "timeout_s"})
            with HttpModel(EndpointConfig(route=config.kind, **shared)) as http:
                yield http_judge(http, config)


def http_judge(http: HttpModel, config: JudgeConfig) -> Judge:
    """A judge behind OpenAI's chat route, or behind TGI's, which takes the prompt as one text."""
    if config.kind == "tgi":
        return lambda prompt: http.complete(f"{prompt.system}\n\n{prompt.user}\n\n", config.max_tokens, []).text

    def ask(prompt: Prompt) -> str:
        turns = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        return http.answer(turns, config.max_tokens).text

    return ask


def bedrock_judge(config: JudgeConfig) -> Judge:
    """A model behind Bedrock's Converse (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html)."""
    import boto3
    from botocore.config import Config

    settings = Config(read_timeout=config.timeout_s, retries={"mode": "adaptive", "max_attempts": 5})
    return converse(boto3.client("bedrock-runtime", region_name=config.region, config=settings), config)


def converse(client: Any, config: JudgeConfig) -> Judge:
    """Asks through a Bedrock runtime client."""
    from botocore.exceptions import BotoCoreError, ClientError

    def ask(prompt: Prompt) -> str:
        try:
            reply = client.converse(
                modelId=config.model,
                system=[{"text": prompt.system}],
                messages=[{"role": "user", "content": [{"text": prompt.user}]}],
                inferenceConfig={"maxTokens": config.max_tokens, "temperature": 0.0},
            )
        except (ClientError, BotoCoreError) as error:
            raise LlmopsError(
                f"judge.model {config.model}: Bedrock does not answer ({error}); check region, model access and role"
            ) from error
        return "".join(part.get("text", "") for part in reply["output"]["message"]["content"])

    return ask


def model_judge(config: JudgeConfig) -> Judge:
    """A model loaded here; one prompt at a time."""
    from threading import Lock

    from llmops_train.acceptance import encode
    from llmops_train.evaluation.generation import answer
    from llmops_train.model import load_model, load_tokenizer
    from llmops_train.source import identify, open_source

    files = open_source(identify(config.model))
    model, tokenizer = load_model(files).eval(), load_tokenizer(files.tokenizer)
    longest = getattr(model.config, "max_position_embeddings", None)
    alone = Lock()

    def ask(prompt: Prompt) -> str:
        ids = encode(tokenizer, [{"role": "user", "content": f"{prompt.system}\n\n{prompt.user}"}])
        if longest is not None and len(ids) + config.max_tokens > longest:
            raise LlmopsError(
                f"judge.model {config.model}: takes {longest} tokens, but prompt and verdict need {len(ids) + config.max_tokens}; "
                f"choose a judge with a longer context, or lower judge.max_tokens"
            )
        with alone:
            found = answer(model, tokenizer, [ids], config.max_tokens, 1).ids[0]
        return str(tokenizer.decode(found, skip_special_tokens=True))

    return ask
