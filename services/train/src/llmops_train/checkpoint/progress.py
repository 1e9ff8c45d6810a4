"""How far a run is: what a checkpoint keeps beside tensors."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Window:
    """What happened since the last point of the curves."""

    loss: float = 0.0
    num_tokens: int = 0
    num_steps: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    """Steps taken."""
    num_tokens: int = 0
    """Tokens trained on, padding left out."""
    train_seconds: float = 0.0
    """Time spent in steps, over all interruptions."""
    window: Window = field(default_factory=Window)
    """Sums for the next point of the curves."""
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """The points of the curves so far: step and figures."""


def progress_of(saved: dict[str, Any]) -> Progress:
    """The reverse of `dataclasses.asdict`, after JSON."""
    curve = [(step, figures) for step, figures in saved["curve"]]
    return Progress(**{**saved, "window": Window(**saved["window"]), "curve": curve})
