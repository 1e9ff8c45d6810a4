"""One answer in the making, as the model sees it."""

from dataclasses import dataclass, field

from llmops_serve.engines.engine import Sampling
from llmops_serve.engines.sampling import Chooser


@dataclass
class Row:
    """The tokens of a prompt and of its answer so far."""

    prompt_ids: list[int]
    sampling: Sampling
    chooser: Chooser = field(init=False)
    token_ids: list[int] = field(init=False)
    prompt_logprobs: list[float | None] | None = None

    def __post_init__(self) -> None:
        self.chooser = Chooser(self.sampling)
        self.token_ids = list(self.prompt_ids)

    @property
    def num_new_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.token_ids) - len(self.prompt_ids)
