"""A live endpoint as the harness's language model: it continues texts, and says how likely a text's tokens are."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from lm_eval.api.model import LM  # noqa: TID253 - this module is imported late

from llmops_shared.errors import LlmopsError
from llmops_train.evaluation.endpoint import HttpModel

MAX_TOKENS = 256  # the harness's own default for generation


class Tokens(NamedTuple):
    """Tokens of a text as the server sees it; the first has no likelihood."""

    ids: list[Any]
    logprobs: list[float]


class EndpointLM(LM):  # type: ignore[misc]
    """TGI's `/generate` with `decoder_input_details`, or OpenAI's `/v1/completions` with `echo` and `logprobs`."""

    def __init__(self, http: HttpModel) -> None:
        super().__init__()
        self.http = http
        self.prefixes: dict[str, Tokens] = {}

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations, cut at the first stop."""
        with ThreadPoolExecutor(self.http.config.concurrency) as pool:
            return list(pool.map(self.generate, requests))

    def generate(self, request: Any) -> str:
        """One continuation."""
        context, options = request.args
        stops = options.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        text = self.http.complete(context, int(options.get("max_gen_toks", MAX_TOKENS)), []).text
        for stop in stops:  # here rather than at the server, whose answer may or may not hold the stop
            text = text.split(stop)[0] if stop else text
        self.cache_hook.add_partial("generate_until", (context, options), text)
        return text

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether it is what greedy decoding gives)."""
        with ThreadPoolExecutor(self.http.config.concurrency) as pool:
            return list(pool.map(self.likelihood, requests))

    def likelihood(self, request: Any) -> tuple[float, bool]:
        """One continuation."""
        context, continuation = request.args
        start = len(context) - len(context.rstrip())
        if start:  # blanks belong to the word behind them, as the harness splits them for a model of its own
            context, continuation = context[:-start], context[-start:] + continuation
        if context not in self.prefixes:
            self.prefixes[context] = self.tokens(context)
        whole, known = self.tokens(context + continuation), len(self.prefixes[context].ids)
        logprobs = whole.logprobs[known:]
        if not logprobs:
            raise LlmopsError(f"{self.http.config.url}: gives no likelihood for {continuation[:40]!r}")
        greedy = (
            request.request_type == "loglikelihood"
            and len(getattr(request, "arguments", ())) == 2
            and self.is_greedy(context, whole, known)
        )
        result = (sum(logprobs), greedy)
        self.cache_hook.add_partial("loglikelihood", request.args, result)
        return result

    def is_greedy(self, context: str, whole: Tokens, known: int) -> bool:
        """Whether the server itself would go on with these tokens."""
        found = self.tokens(context, len(whole.ids) - known)
        return found.ids[known:] == whole.ids[known:]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Not offered: a server does not say what it makes of a text's first token."""
        raise LlmopsError("benchmarks: a task of whole-text perplexity needs the model itself (run=...), an endpoint cannot give it")

    def tokens(self, text: str, num_new: int = 0) -> Tokens:
        """Tokens and log-likelihoods of a text, followed by `num_new` greedy ones. Raises LlmopsError when the server tells none."""
        if self.http.config.route == "tgi":
            parameters = {"max_new_tokens": max(num_new, 1), "decoder_input_details": True, "details": True, "do_sample": False}
            details = self.http.post("/generate", {"inputs": text, "parameters": parameters}).get("details") or {}
            found = details.get("prefill") or []
            if not found:
                raise LlmopsError(f"{self.http.config.url}: tells no likelihoods of a prompt (decoder_input_details)")
            new = details["tokens"][:num_new]
            return Tokens([one["id"] for one in [*found, *new]], [one["logprob"] or 0.0 for one in [*found, *new]])
        body = {"prompt": text, "max_tokens": max(num_new, 1), "echo": True, "logprobs": 1, "temperature": 0}  # not every server takes 0
        answer = self.http.post("/v1/completions", {"model": self.http.config.model, **body})
        logprobs = answer["choices"][0].get("logprobs") or {}
        if not logprobs.get("tokens"):
            raise LlmopsError(f"{self.http.config.url}: tells no likelihoods of a prompt (echo with logprobs); use route tgi or run=...")
        known = len(logprobs["tokens"]) - (0 if num_new else answer["usage"]["completion_tokens"])
        return Tokens(logprobs["tokens"][:known], [one or 0.0 for one in logprobs["token_logprobs"][:known]])
