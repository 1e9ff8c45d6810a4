"""The processes that write a checkpoint together, as the checkpoint's thread sees them."""

from dataclasses import dataclass
from typing import Any, TypeVar

from llmops_shared.errors import LlmopsError

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among those of the run; `background` is a group no other thread uses, `control` one of the main thread."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    control: Any = None
    background: Any = None

    @property
    def node(self) -> int:
        """Number of this process's node; a launcher fills node after node."""
        return self.rank // self.local_size

    def gather(self, value: T, group: Any) -> list[T]:
        """Every process's value, in order of ranks."""
        if group is None:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=group)
        return found

    def agree(self, error: str | None, group: Any) -> None:
        """Raises LlmopsError on every process when one of them failed: the others would wait for it for ever."""
        failed = [text for text in self.gather(error, group) if text is not None]
        if failed:
            raise LlmopsError(failed[0])
