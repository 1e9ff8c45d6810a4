"""One answer on its way from tokens to text."""

from llmops_serve.engines.engine import FinishReason, Likely, Prompt, Sampling, Step
from llmops_serve.engines.row import Row
from llmops_serve.engines.sampling import Choice
from llmops_serve.text import Decoder, ModelText


class Answer:
    """Its row of the batch, its text, and when it ends."""

    def __init__(self, number: int, prompt: Prompt, sampling: Sampling, text: ModelText) -> None:
        self.number = number
        self.row = Row(prompt.token_ids, sampling)
        self._text = text
        self._decoder = Decoder(text, prompt.token_ids, sampling.stop, sampling.keep_stop)

    def advance(self, choice: Choice, end_tokens: frozenset[int]) -> Step:
        """The step that a chosen token makes."""
        ends = choice.token_id in end_tokens
        text = "" if ends else self._decoder.add(choice.token_id)
        finish: FinishReason | None = None
        if self._decoder.stopped:
            finish = "stop_sequence"
        elif ends or self.row.num_new_tokens >= self.row.sampling.max_new_tokens:
            text += self._decoder.finish()
            finish = "stop_sequence" if self._decoder.stopped else "eos_token" if ends else "length"
        special = ends or choice.token_id in self._text.special_ids
        first = self.row.num_new_tokens == 1
        likely = [Likely(token_id, self._text.token(token_id), logprob) for token_id, logprob in choice.likely] if choice.likely else None
        return Step(choice.token_id, text, choice.logprob, special, finish, self.row.prompt_logprobs if first else None, likely)
