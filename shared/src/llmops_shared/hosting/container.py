"""The serving containers: AWS's images, and what each gets."""

from typing import NamedTuple

from llmops_shared.contracts.endpoint import Variant
from llmops_shared.contracts.engine import EngineName
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting import lmi, tgi, vllm
from llmops_shared.hosting.places import Places, places_of

# The newest of each that the SageMaker SDK 3.27 names. TGI was archived in March 2026; DJL's DeepSpeed image is its last.
IMAGES: dict[EngineName, str] = {
    "tgi": "huggingface-pytorch-tgi-inference:2.7.0-tgi3.3.6-gpu-py311-cu124-ubuntu22.04",
    "lmi-vllm": "djl-inference:0.38.0-lmi29.0.0-cu130",
    "lmi-trtllm": "djl-inference:0.33.0-tensorrtllm0.21.0-cu128",
    "lmi-deepspeed": "djl-inference:0.27.0-deepspeed0.12.6-cu121",
    "lmi-accelerate": "djl-inference:0.38.0-lmi29.0.0-cu130",
    "vllm": "vllm:0.30.0-gpu-py312-cu130-ubuntu24.04-sagemaker",
}

# A container has no network, so that looking anything up on the hub would only cost time.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class Container(NamedTuple):
    """What SageMaker starts for a variant."""

    image: str
    """Repository and tag, without the registry."""
    environment: dict[str, str]
    """Its variables."""
    properties: str | None
    """The same as DJL's `serving.properties`; None for other servers."""
    places: Places
    """Where it finds the packages."""


def container_of(variant: Variant, engine: EngineName, instance_type: str, startup_timeout_s: int) -> Container:
    """The container of an engine for a variant. Raises LlmopsError when the package does not suit the engine or the instance."""
    if engine == "in-process":
        raise LlmopsError(f"variant {variant.name}: in-process runs in the laptop's server and has no container; name another engine")
    if variant.model is None:
        raise LlmopsError(f"variant {variant.name}: the document holds no facts of its package; write it again with llmops-serve deploy")
    model, settings, places = variant.model, variant.settings, places_of(variant)
    if model.layout == "adapter" and model.max_adapter_rank is None:
        raise LlmopsError(
            f"variant {variant.name}: {engine} serves LoRA adapters only; package the run with layout=merged, or serve in-process"
        )
    match engine:
        case "tgi":
            own = tgi.environment(model, settings, instance_type, places)
        case "vllm":
            own = vllm.environment(model, settings, instance_type, places)
        case _:
            own = lmi.environment(engine, model, settings, instance_type, places, startup_timeout_s)
    properties = lmi.properties(own) if engine.startswith("lmi-") else None
    return Container(IMAGES[engine], {**OFFLINE, **own}, properties, places)
