"""An exchange, its texts split once for all rules."""

from llmops_shared.words import Words

__all__ = ["Exchanged", "Words"]


class Exchanged:
    """One exchange as the rules see it. Building it is most of the cost of a rule."""

    __slots__ = ("context", "num_prompt_tokens", "num_response_tokens", "prompt", "response")

    def __init__(
        self, prompt: str, response: str, context: str | None = None, num_prompt_tokens: int = 0, num_response_tokens: int = 0
    ) -> None:
        self.prompt = Words(prompt)
        self.response = Words(response)
        self.context = None if context is None else Words(context)
        """The retrieved chunks, best first; None where nothing was retrieved."""
        self.num_prompt_tokens = num_prompt_tokens
        self.num_response_tokens = num_response_tokens
