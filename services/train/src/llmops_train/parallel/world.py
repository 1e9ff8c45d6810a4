"""Which of how many processes this is, as the launcher says. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_shared.errors import LlmopsError

# by launcher: torchrun (also SageMaker's), Open MPI, and MPI launchers that speak PMI
NAMES = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)


@dataclass(frozen=True)
class World:
    """One process among the run's processes."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """Number of processes."""
    local_rank: int = 0
    """Number of this process on its node."""
    local_size: int = 1
    """Number of processes on this node."""
    address: str | None = None
    """`host:port` where the processes meet; None where there is nobody to meet."""

    attempt: int = 0
    """How often the launcher has started the processes again."""

    @property
    def is_first(self) -> bool:
        """Whether this process speaks, tracks and writes documents for all."""
        return self.rank == 0


def world_of(environment: Mapping[str, str]) -> World:
    """The world a launcher describes. Raises LlmopsError when it does so in part only."""
    for names in NAMES:
        if names[0] not in environment:
            continue
        missing = [name for name in (*names, "MASTER_ADDR", "MASTER_PORT") if name not in environment]
        if missing:
            raise LlmopsError(
                f"{names[0]}={environment[names[0]]} is set without {', '.join(missing)}; start the processes with torchrun or mpirun"
            )
        attempt = int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
        rank, size, local_rank, local_size = (int(environment[name]) for name in names)
        return World(rank, size, local_rank, local_size, f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}", attempt)
    return World()
