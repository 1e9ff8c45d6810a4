"""vLLM's OpenAI server: it takes a prompt as tokens, so that no template or first token can be applied twice."""

from typing import Any

from llmops_serve.engines.engine import EngineError, FinishReason, Likely, Prompt, Sampling, Step, UnsupportedError


class VllmDialect:
    """`/v1/completions`."""

    path = "/v1/completions"

    def body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        if sampling.typical_p is not None and sampling.typical_p != 1.0:
            raise UnsupportedError("`typical_p` is not supported by vLLM")
        if sampling.prompt_logprobs:
            raise UnsupportedError("`decoder_input_details` is not supported by a vLLM server that streams, as this gateway has it do")
        options = {
            "model": sampling.adapter,
            "temperature": (sampling.temperature or 1.0) if sampling.do_sample else 0.0,
            "top_k": sampling.top_k if sampling.do_sample else None,
            "top_p": sampling.top_p if sampling.do_sample else None,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
        }
        return {
            "prompt": prompt.token_ids,
            "max_tokens": sampling.max_new_tokens,
            "stream": True,
            "logprobs": max(1, sampling.top_n_tokens),
            "return_tokens_as_token_ids": True,
            "include_stop_str_in_output": sampling.keep_stop,
            **{name: value for name, value in options.items() if value is not None},
        }

    def invocation(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return self.body(prompt, sampling)

    def steps(self, event: Any, finished: int) -> list[Step]:
        if "error" in event:
            raise EngineError(str(event["error"].get("message") if isinstance(event["error"], dict) else event["error"]))
        if not event.get("choices"):
            return []  # the usage at the end
        (choice,) = event["choices"]
        told = choice.get("logprobs") or {}
        tokens, logprobs, best = told.get("tokens") or [], told.get("token_logprobs") or [], told.get("top_logprobs") or []
        steps = [
            Step(token_id(token), "", logprob, False, None, None, likely(best[index] if index < len(best) else None))
            for index, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True))
        ]
        finish = finish_reason(choice)
        if not steps:
            if choice["text"] or finish:  # text that was held back for a stop sequence, or an end without a token of its own
                steps = [Step(-1, "", 0.0, True, None)]
            else:
                return []
        # one event can hold several tokens but tells only the text of all of them
        steps[-1] = steps[-1]._replace(text=choice["text"], finish=finish, special=steps[-1].special or finish == "eos_token")
        return steps


def finish_reason(choice: Any) -> FinishReason | None:
    """TGI's word: vLLM says `stop` both for a stop sequence, which it names, and for the model's own end."""
    match choice.get("finish_reason"):
        case None:
            return None
        case "length":
            return "length"
        case "stop":
            return "stop_sequence" if isinstance(choice.get("stop_reason"), str) else "eos_token"
        case other:
            raise EngineError(f"the server ended the answer for an unknown reason: {other}")


def token_id(token: str) -> int:
    """The number in `token_id:17`. Raises EngineError for anything else, which an older server sends."""
    name, _, number = token.partition(":")
    if name != "token_id" or not number.isdigit():
        raise EngineError("the server does not tell token ids (return_tokens_as_token_ids); update vLLM")
    return int(number)


def likely(best: dict[str, float] | None) -> list[Likely] | None:
    """The likeliest tokens, best first; their texts are for whoever has the tokenizer to fill in."""
    if not best:
        return None
    ordered = sorted(best.items(), key=lambda item: -item[1])
    return [Likely(token_id(token), "", logprob) for token, logprob in ordered]
