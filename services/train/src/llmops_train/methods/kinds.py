"""What an adapter on disk is, by its own settings. No torch here."""

import json
from pathlib import Path

from llmops_shared.contracts import TrainingRun
from llmops_shared.errors import LlmopsError

# What peft can add into a model's weights; the others put something in front of, or inside, attention
MERGEABLE = frozenset({"LORA"})
KNOWN = frozenset({"LORA", "PROMPT_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT"})


def has_adapter(run: TrainingRun) -> bool:
    """Whether a run's weights are an adapter alone."""
    return all(part.path.startswith("adapter/") for part in run.weights)


def kind_of(adapter: Path) -> str:
    """peft's word for an adapter's method. Raises LlmopsError for one that this trainer does not know."""
    settings = read_settings(adapter)
    kind = str(settings.get("peft_type"))
    if kind not in KNOWN:
        raise LlmopsError(f"{adapter}/adapter_config.json: peft_type {kind} is unknown here (known: {', '.join(sorted(KNOWN))})")
    return kind


def is_mergeable(adapter: Path) -> bool:
    """Whether the adapter can become part of the model's weights."""
    return kind_of(adapter) in MERGEABLE


def num_virtual_tokens(adapter: Path) -> int:
    """Positions that the adapter takes in front of every prompt."""
    settings = read_settings(adapter)
    return int(str(settings["num_virtual_tokens"])) if settings["peft_type"] in ("PROMPT_TUNING", "PREFIX_TUNING") else 0


def read_settings(adapter: Path) -> dict[str, object]:
    """The adapter's settings as peft wrote them."""
    settings: dict[str, object] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return settings
