"""A live endpoint as what answers: OpenAI's chat route or TGI's, over HTTP."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from llmops_shared.errors import LlmopsError
from llmops_train.evaluation.config import EndpointConfig

BUSY = (429, 502, 503, 504)
FIRST_PAUSE_S = 0.5

Messages = list[dict[str, str]]


class Answer(NamedTuple):
    """One answer."""

    text: str
    num_tokens: int
    """As the server counts them; 0 where it does not say."""


class HttpModel:
    """Asks an endpoint. Raises LlmopsError with the server's own words when it refuses, and when it is not there."""

    def __init__(self, config: EndpointConfig) -> None:
        import httpx

        self.config = config
        headers = {} if config.api_key_file is None else {"authorization": f"Bearer {read_key(config.api_key_file)}"}
        limits = httpx.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency)
        self.client = httpx.Client(headers=headers, timeout=config.timeout_s, limits=limits, trust_env=False)

    def __enter__(self) -> "HttpModel":
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def answer_all(self, conversations: list[Messages], max_tokens: int) -> list[Answer]:
        """Greedy answers, `concurrency` at a time, in the order of the questions."""
        with ThreadPoolExecutor(self.config.concurrency) as pool:
            return list(pool.map(lambda messages: self.answer(messages, max_tokens), conversations))

    def answer(self, messages: Messages, max_tokens: int) -> Answer:
        """One greedy answer."""
        if self.config.route == "openai":
            body = {"model": self.config.model, "messages": messages, "max_tokens": max_tokens, "temperature": 0, "seed": 0}
            reply = self.post("/v1/chat/completions", body)
            return Answer(str(reply["choices"][0]["message"]["content"] or ""), int((reply.get("usage") or {}).get("completion_tokens", 0)))
        prompt = messages[0]["content"] if len(messages) == 1 else "\n".join(message["content"] for message in messages)
        return self.complete(prompt, max_tokens, [])

    def complete(self, prompt: str, max_tokens: int, stop: list[str]) -> Answer:
        """The greedy continuation of a text as it stands, without a chat template."""
        if self.config.route == "openai":
            body: dict[str, Any] = {"model": self.config.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
            reply = self.post("/v1/completions", {**body, "stop": stop} if stop else body)
            return Answer(str(reply["choices"][0]["text"]), int((reply.get("usage") or {}).get("completion_tokens", 0)))
        parameters = {"max_new_tokens": max_tokens, "do_sample": False, "stop": stop, "details": True, "return_full_text": False}
        reply = self.post("/generate", {"inputs": prompt, "parameters": parameters})
        return Answer(str(reply["generated_text"]), int((reply.get("details") or {}).get("generated_tokens", 0)))

    def post(self, route: str, body: object) -> Any:
        """The reply as JSON; busy servers are asked again."""
        import httpx

        place = self.config.url.rstrip("/") + route
        for attempt in range(self.config.num_retries + 1):
            try:
                reply = self.client.post(place, json=body)
            except httpx.HTTPError as error:
                problem = f"does not answer ({type(error).__name__}: {error})"
            else:
                if reply.is_success:
                    return check_shape(place, reply)
                problem = f"refuses with {reply.status_code}: {reply.text[:300]}"
                if reply.status_code not in BUSY:
                    break
            if attempt < self.config.num_retries:
                time.sleep(FIRST_PAUSE_S * 2**attempt)
        raise LlmopsError(f"{place}: {problem}; finished rows are kept: correct the endpoint's settings or start it, and run again")


def check_shape(place: str, reply: Any) -> Any:
    """The reply's JSON. Raises LlmopsError when it is none, or holds no answer."""
    try:
        content = reply.json()
    except ValueError as error:
        raise LlmopsError(f"{place}: answers {reply.text[:100]!r}, which is no JSON; is this the right route?") from error
    content = content[0] if isinstance(content, list) and content else content  # TGI's /invocations wraps it
    if not isinstance(content, dict) or not (content.get("choices") or "generated_text" in content):
        raise LlmopsError(f"{place}: answers {str(content)[:100]}, which holds no generated text; is this the right route?")
    return content


def read_key(path: str) -> str:
    """The bearer token in a file."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LlmopsError(f"api_key_file {path}: cannot be read ({error.strerror}); name a file with the token") from error
