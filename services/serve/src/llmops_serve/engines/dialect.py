"""What a kind of model server wants to be asked and how it answers; the same over HTTP and through SageMaker."""

from typing import Any, Protocol

from llmops_serve.engines.engine import Prompt, Sampling, Step
from llmops_serve.text import ModelText
from llmops_shared.contracts.engine import EngineName


class Dialect(Protocol):
    """One kind of server."""

    path: str
    """Route that generates."""

    def body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        """The body for the route. Raises UnsupportedError for what the server cannot do."""

    def invocation(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        """The body for SageMaker's one route, `/invocations`."""

    def steps(self, event: Any, finished: int) -> list[Step]:
        """The tokens in one event, after `finished` others. Raises EngineError when the event tells of a failure."""


def dialect_of(engine: EngineName, text: ModelText) -> Dialect:
    """The dialect of an engine."""
    match engine:
        case "tgi":
            from llmops_serve.engines.tgi_dialect import TgiDialect

            return TgiDialect(text)
        case "vllm":
            from llmops_serve.engines.vllm_dialect import VllmDialect

            return VllmDialect()
        case _:
            from llmops_serve.engines.lmi_dialect import LmiDialect

            return LmiDialect(text)
