"""The plan, as standard output carries it."""

from typing import ClassVar, Literal

from pydantic import Field

from llmops_shared.contracts.document import Contract, Value


class Choice(Value):
    """One place the run could go."""

    place: str
    """SageMaker instance type, or `this machine`."""
    num_instances: int
    """Instances."""
    num_processes: int
    """Processes over all of them: one a GPU."""
    processor: str
    """What each process computes on."""
    memory_needed_bytes: int
    """Peak of one process."""
    memory_there_bytes: int
    """Memory for one process."""
    memory: dict[str, int]
    """The peak's parts."""
    fits: bool
    """Whether it is enough."""
    tokens_per_second: float
    """Expected rate of all processes."""
    hours: float
    """Expected time of training; start, data and evaluation left out."""
    usd: float | None
    """Price of that time on demand; None where nobody sends a bill."""
    quota: float | None = None
    """Instances of the type that the account may train on at a time; None: not asked."""
    zones: list[str] = Field(default=[])
    """Availability zones that have the type; empty: not asked."""
    problems: list[str] = Field(default=[])
    """Why it cannot be this place."""


class TrainingPlan(Contract):
    """What a run needs, and where it could go."""

    file_name: ClassVar[str] = "plan.json"

    kind: Literal["plan"] = "plan"
    """What this document is."""
    method: str
    """How weights are changed."""
    num_parameters: int
    """Parameters of the model."""
    num_trainable_parameters: int
    """Parameters that learn."""
    num_tokens: int
    """Tokens to train on, padding left out."""
    num_steps: int
    """Optimizer steps."""
    flops: float
    """Useful floating point operations of all of them."""
    prices: str
    """Region, date and source of the prices."""
    choices: list[Choice]
    """The places looked at, cheapest first."""
    best: str | None
    """The first without problems; None: there is none."""
    verdict: Literal["pass", "fail"]
    """`fail`: no place is without problems."""
