"""Text Generation Inference's own routes."""

from typing import Any

from llmops_serve.engines.engine import EngineError, Likely, Prompt, Sampling, Step, UnsupportedError
from llmops_serve.text import ModelText

NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0}  # TGI takes most of these by leaving them out


class TgiDialect:
    """`/generate_stream`."""

    path = "/generate_stream"

    def __init__(self, text: ModelText) -> None:
        self._text = text

    def body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        if sampling.prompt_logprobs:
            raise UnsupportedError("`decoder_input_details` is not supported by a TGI server that streams, as this gateway has it do")
        parameters = {
            "max_new_tokens": sampling.max_new_tokens,
            "do_sample": sampling.do_sample,
            "temperature": sampling.temperature if sampling.do_sample else None,
            "top_k": sampling.top_k if sampling.do_sample else None,
            "top_p": sampling.top_p if sampling.do_sample else None,
            "typical_p": sampling.typical_p if sampling.do_sample else None,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "top_n_tokens": sampling.top_n_tokens or None,
            "adapter_id": sampling.adapter,
        }
        wanted = {name: value for name, value in parameters.items() if value is not None and value != NEUTRAL.get(name)}
        return {"inputs": plain_text(self._text, prompt), "parameters": {**wanted, "details": True}}

    def invocation(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return {**self.body(prompt, sampling), "stream": True}

    def steps(self, event: Any, finished: int) -> list[Step]:
        if "error" in event:
            raise EngineError(str(event["error"]))
        token, details = event["token"], event.get("details") or {}
        likely = [Likely(one["id"], one["text"], one["logprob"]) for one in event.get("top_tokens") or []]
        text = "" if token["special"] else token["text"]
        return [Step(token["id"], text, token["logprob"], token["special"], details.get("finish_reason"), None, likely or None)]


def plain_text(text: ModelText, prompt: Prompt) -> str:
    """The prompt as a text that the server's tokenizer turns into exactly these tokens.

    A rendered conversation has the model's first token written out; a server that puts it in front by itself would double it.
    Raises UnsupportedError when there is no such text, as for a truncated prompt whose beginning is no beginning.
    """
    first = text.first_token
    candidates = [prompt.text, text.decode(prompt.token_ids), *([prompt.text.removeprefix(first)] if first else [])]
    for candidate in candidates:
        if text.encode(candidate, special=True) == prompt.token_ids:
            return candidate
    raise UnsupportedError("this prompt's tokens cannot be sent to the model server as text; leave `truncate` out")
