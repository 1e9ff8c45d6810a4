"""What an instance type computes: its GPUs are in llmops_shared.hosting, their rates here."""

from typing import NamedTuple

from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.instances import GPUS

# Peak of dense bfloat16 products in 10^12 operations a second (float16 where a card has no bfloat16), and of float32 ones, TF32 where
# PyTorch's default precision does not use it. NVIDIA's data sheets of each card, sparsity left out.
RATES: dict[str, tuple[float, float]] = {
    "T4": (65.0, 8.1),
    "V100": (125.0, 15.7),
    "A10G": (70.0, 31.2),
    "A100": (312.0, 19.5),
    "L4": (121.0, 30.3),
    "L40S": (362.0, 91.6),
    "H100": (989.0, 66.9),
    "H200": (989.0, 66.9),
    "B200": (2250.0, 80.0),
}

RESERVED_BYTES = 1.2 * 2**30
"""What CUDA, cuBLAS, NCCL and the allocator's rounding take of a GPU; an assumption, to be measured where a GPU can be had."""


class Place(NamedTuple):
    """Where a run could go."""

    name: str
    """SageMaker instance type, or `this machine`."""
    num_processors: int
    """GPUs of one instance; 1 for a machine without."""
    processor: str
    memory_bytes: float
    """Of each GPU, or of the machine, less what is taken already."""
    rate: float
    """Operations a second of one GPU, or of the machine."""


def place_of(instance_type: str, bfloat16: bool) -> Place:
    """An instance type. Raises LlmopsError for one that SageMaker has no training on, or that has no GPUs we know."""
    check_type(instance_type)
    if instance_type not in GPUS:
        raise LlmopsError(
            f"instance type {instance_type}: has no GPU whose rate and memory are known here; take one of {', '.join(sorted(GPUS))}"
        )
    number, gpu = GPUS[instance_type]
    half, single = RATES[gpu.name]
    return Place(instance_type, number, gpu.name, gpu.memory_gib * 2**30 - RESERVED_BYTES, (half if bfloat16 else single) * 1e12)


def check_type(instance_type: str) -> None:
    """Raises LlmopsError for a type that SageMaker's own API description does not list for training."""
    known = training_types()
    if instance_type not in known:
        import difflib

        near = ", ".join(difflib.get_close_matches(instance_type, known, n=3))
        raise LlmopsError(f"instance type {instance_type}: SageMaker trains on no such type{f'; did you mean {near}?' if near else ''}")


def training_types() -> list[str]:
    """Instance types of training jobs in botocore's description of SageMaker."""
    from llmops_train.plan.sagemaker import training_instance_types

    return training_instance_types()
