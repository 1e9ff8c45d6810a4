"""A judge behind any OpenAI-compatible chat endpoint."""

from collections.abc import Callable
from typing import Any

from llmops_shared.errors import LlmopsError

TIMEOUT_S = 120.0
MAX_TOKENS = 400


def ask_openai(url: str, model: str, key: str | None, schema: dict[str, Any]) -> Callable[[str], str]:
    """Asks for a JSON object of this schema. Raises LlmopsError where the client is missing or the server does not answer."""
    try:
        import openai
    except ImportError as error:
        raise LlmopsError("judge.kind=endpoint needs OpenAI's client: pip install 'llmops-monitor[judge]'") from error
    # local servers want no key, and the client insists on one
    client = openai.OpenAI(base_url=url, api_key=key or "none", timeout=TIMEOUT_S, max_retries=3)
    shape = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}

    def ask(prompt: str) -> str:
        try:
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                temperature=0,
                max_tokens=MAX_TOKENS,
                response_format=shape,
            )
        except openai.OpenAIError as error:
            raise LlmopsError(f"judge.url {url}: does not answer ({error}); is it an OpenAI-compatible server with {model}?") from error
        return answer.choices[0].message.content or "" if answer.choices else ""

    return ask
