"""DJL's large model inference: `/invocations` with `inputs` and `parameters`, answered as JSON lines."""

from typing import Any

from llmops_serve.engines.engine import EngineError, FinishReason, Prompt, Sampling, Step, UnsupportedError
from llmops_serve.engines.tgi_dialect import plain_text
from llmops_serve.text import ModelText

FINISH: dict[str, FinishReason] = {"length": "length", "eos_token": "eos_token", "stop_sequence": "stop_sequence", "stop": "eos_token"}


class LmiDialect:
    """`/invocations` (docs.djl.ai, LMI input output schema)."""

    path = "/invocations"

    def __init__(self, text: ModelText) -> None:
        self._text = text

    def body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        unsupported = {"decoder_input_details": sampling.prompt_logprobs, "top_n_tokens": sampling.top_n_tokens}
        if asked := [name for name, value in unsupported.items() if value]:
            raise UnsupportedError(f"`{asked[0]}` is not supported by DJL's LMI")
        options = {
            "temperature": sampling.temperature if sampling.do_sample else None,
            "top_k": sampling.top_k if sampling.do_sample else None,
            "top_p": sampling.top_p if sampling.do_sample else None,
            "typical_p": sampling.typical_p if sampling.do_sample else None,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
        }
        parameters = {
            "max_new_tokens": sampling.max_new_tokens,
            "do_sample": sampling.do_sample,
            "details": True,
            "include_stop_str_in_output": sampling.keep_stop,
            **{name: value for name, value in options.items() if value is not None},
        }
        adapters = {} if sampling.adapter is None else {"adapters": sampling.adapter}
        return {"inputs": plain_text(self._text, prompt), "parameters": parameters, "stream": True, **adapters}

    def invocation(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return self.body(prompt, sampling)

    def steps(self, event: Any, finished: int) -> list[Step]:
        if "token" not in event:
            raise EngineError(str(event.get("error_msg") or event.get("error") or event))
        token, details = event["token"], event.get("details") or {}
        reason = details.get("finish_reason")
        if reason == "error":
            raise EngineError(str(details.get("error") or "the server says the answer failed"))
        if reason is not None and reason not in FINISH:
            raise EngineError(f"the server ended the answer for an unknown reason: {reason}")
        special, logprob = bool(token.get("special_token", token.get("special", False))), token.get("log_prob", token.get("logprob"))
        text = "" if special else token["text"]
        return [Step(token["id"], text, float(logprob), special, None if reason is None else FINISH[reason])]
