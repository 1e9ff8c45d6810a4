"""Environments and their synthesized stacks, for tests and for the scan."""

import json
from pathlib import Path
from typing import Any

from llmops_infra.config import ENVIRONMENTS, load_environment
from llmops_infra.synth import synth
from llmops_shared.contracts import Reference
from llmops_shared.contracts.endpoint import Capture, Endpoint, Variant
from llmops_shared.contracts.engine import ServedModel

EVERYTHING = Path(__file__).resolve().parents[1] / "infra" / "everything.yaml"
SHIPPED = sorted(path.stem for path in ENVIRONMENTS.glob("*.yaml"))
ENVIRONMENT_NAMES = [*SHIPPED, "full"]

Stacks = dict[str, Path]


SMALL_LLAMA = ServedModel(
    architecture="LlamaForCausalLM",
    num_parameters=1_235_814_400,
    dtype="bfloat16",
    max_context_tokens=131_072,
    layout="merged",
    num_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_size=64,
)


def variant(name: str, weight: float = 1.0, *, shadow: bool = False) -> Variant:
    """A variant with a package in S3."""
    return Variant(
        name=name,
        package=Reference(uri=f"s3://llmops-models/packages/{name}/package.json", sha256="0" * 64),
        weight=weight,
        shadow=shadow,
        engine="lmi-vllm",
        model=SMALL_LLAMA,
    )


def endpoint_document(*variants: Variant, generation: int = 1) -> Endpoint:
    """A document of these variants, with capture."""
    return Endpoint(
        name="assistant",
        generation=generation,
        previous=None,
        reason="deploy",
        evidence=None,
        variants=list(variants),
        retrieval=None,
        capture=Capture(uri="exchanges", sample_rate=1.0),
    )


def synthesize(name: str, out: Path, endpoint: Endpoint | None = None) -> Stacks:
    """Writes the stacks of a shipped environment, or of the one with every switch on, and returns their folders by name."""
    words = []
    out.mkdir(parents=True, exist_ok=True)
    if endpoint:
        (out / "endpoint.json").write_bytes(endpoint.to_json())
        words += [f"serving.endpoint={out / 'endpoint.json'}", "max_monthly_usd=60000"]
    environment = load_environment(str(EVERYTHING) if name == "full" else name, words)
    return {stack: Path(folder) for stack, folder in synth(environment, out).stacks.items()}


def synthesized(folder: Path) -> dict[str, Any]:
    """The JSON of a stack."""
    document: dict[str, Any] = json.loads((folder / "cdk.tf.json").read_text())
    return document


def everything(out: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The resources of both stacks with every switch on, by type and name."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in synthesize("full", out, endpoint_document(variant("base"), variant("tuned", shadow=True))).values():
        for type_name, named in synthesized(folder)["resource"].items():
            found.setdefault(type_name, {}).update(named)
    return found
