"""SageMaker's GPU instance types for inference: how many GPUs, of what memory, and which number formats they have."""

from typing import NamedTuple

from llmops_shared.errors import LlmopsError

GIB = 2**30


class Gpu(NamedTuple):
    """A GPU."""

    name: str
    memory_gib: float
    """What its driver shows."""
    bfloat16: bool
    fp8: bool
    """Whether its tensor cores have it (Ada, Hopper, Blackwell)."""


T4 = Gpu("T4", 15.0, bfloat16=False, fp8=False)
V100 = Gpu("V100", 15.8, bfloat16=False, fp8=False)
V100_32 = Gpu("V100", 31.7, bfloat16=False, fp8=False)
A10G = Gpu("A10G", 22.5, bfloat16=True, fp8=False)
A100 = Gpu("A100", 40.0, bfloat16=True, fp8=False)
A100_80 = Gpu("A100", 80.0, bfloat16=True, fp8=False)
L4 = Gpu("L4", 22.5, bfloat16=True, fp8=True)
L40S = Gpu("L40S", 45.0, bfloat16=True, fp8=True)
H100 = Gpu("H100", 79.6, bfloat16=True, fp8=True)
H200 = Gpu("H200", 140.4, bfloat16=True, fp8=True)
B200 = Gpu("B200", 179.1, bfloat16=True, fp8=True)

# docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
GPUS: dict[str, tuple[int, Gpu]] = {
    **{f"ml.g4dn.{size}xlarge": (1, T4) for size in ("", 2, 4, 8, 16)}, "ml.g4dn.12xlarge": (4, T4),
    **{f"ml.g5.{size}xlarge": (1, A10G) for size in ("", 2, 4, 8, 16)},
    "ml.g5.12xlarge": (4, A10G), "ml.g5.24xlarge": (4, A10G), "ml.g5.48xlarge": (8, A10G),
    **{f"ml.g6.{size}xlarge": (1, L4) for size in ("", 2, 4, 8, 16)},
    "ml.g6.12xlarge": (4, L4), "ml.g6.24xlarge": (4, L4), "ml.g6.48xlarge": (8, L4),
    **{f"ml.g6e.{size}xlarge": (1, L40S) for size in ("", 2, 4, 8, 16)},
    "ml.g6e.12xlarge": (4, L40S), "ml.g6e.24xlarge": (4, L40S), "ml.g6e.48xlarge": (8, L40S),
    "ml.p3.2xlarge": (1, V100), "ml.p3.8xlarge": (4, V100), "ml.p3.16xlarge": (8, V100), "ml.p3dn.24xlarge": (8, V100_32),
    "ml.p4d.24xlarge": (8, A100), "ml.p4de.24xlarge": (8, A100_80), "ml.p5.4xlarge": (1, H100), "ml.p5.48xlarge": (8, H100),
    "ml.p5e.48xlarge": (8, H200), "ml.p5en.48xlarge": (8, H200), "ml.p6-b200.48xlarge": (8, B200),
}  # fmt: skip


def gpus_of(instance_type: str) -> tuple[int, Gpu]:
    """(number, kind) of an instance's GPUs. Raises LlmopsError for a type without any that we know."""
    if instance_type not in GPUS:
        known = ", ".join(sorted({name.split(".")[1] for name in GPUS}))
        raise LlmopsError(f"instance type {instance_type}: has no GPU that we know, and the serving images need one; take one of {known}")
    return GPUS[instance_type]
