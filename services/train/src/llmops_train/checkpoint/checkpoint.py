"""The checkpoints of one run: saved beside the training, restored from the newest whole one, old ones removed."""

import copy
import hashlib
import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for
from llmops_train.checkpoint.names import PARTIAL, complete_ones, files_in, step_of
from llmops_train.checkpoint.piece import Piece
from llmops_train.checkpoint.progress import Progress
from llmops_train.checkpoint.read import newest
from llmops_train.checkpoint.staging import Staging
from llmops_train.checkpoint.team import Team
from llmops_train.checkpoint.write import PART_BYTES, Place, write_checkpoint

if TYPE_CHECKING:
    from llmops_train.parallel.engine import Engine

logger = logging.getLogger(__name__)

SECONDS_TO_END = 60.0  # a thread that waits for a dead process must not keep this one alive


class Checkpoint:
    """What a stopped run needs to go on as if it had not stopped, in the files of a folder.

    `save` returns at once: a thread copies the state while the next step computes, and then writes the copy. `settle` must be called
    before anything of the state changes.
    """

    def __init__(
        self,
        folder: str,
        request: str,
        team: Team | None = None,
        keep: int = 2,
        scratch: str | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.folder = folder
        self.request = request
        self.team = team or Team()
        self.keep = keep
        self.place = Place(folder, scratch or node_scratch(folder), part_bytes)
        self._staging = Staging()
        self._staged = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(self, pieces: list[Piece], progress: Progress) -> None:
        """Begins to save the state after `progress.step` steps, once the checkpoint before is complete."""
        self.finish()
        self._staged.clear()
        mine = [piece for piece in pieces if piece.written]
        arguments = (mine, copy.deepcopy(progress))
        self._thread = threading.Thread(target=self._work, args=arguments, name="checkpoint", daemon=True)
        self._thread.start()

    def _work(self, pieces: list[Piece], progress: Progress) -> None:
        """Copies, writes and tidies up, in the thread."""
        began = time.monotonic()
        try:
            values = self._staging.copy(pieces)
            self._staged.set()
            uri = write_checkpoint(self.place, self.request, progress, pieces, values, self.team)
            if self.team.rank == 0:
                logger.info("checkpoint after step %d complete in %.1f s: %s", progress.step, time.monotonic() - began, uri)
                self._retire()
        except BaseException as error:  # noqa: BLE001 - `finish` raises it where the run can stop
            self._failure = error
        finally:
            self._staged.set()

    def settle(self) -> None:
        """Waits until the state may change."""
        if self._thread is not None:
            self._staged.wait()

    def finish(self) -> None:
        """Waits until the checkpoint begun last is complete. Raises what went wrong with it."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def wait(self) -> None:
        """Waits for the thread, whatever it came to: the process, or a test, may be about to end."""
        if self._thread is not None:
            self._thread.join(SECONDS_TO_END)

    def restore(self, engine: "Engine") -> Progress:
        """Puts the newest whole checkpoint into the engine; a fresh Progress when there is none.

        Raises LlmopsError when every checkpoint is damaged or it is of a run with other settings.
        """
        self._tidy()
        opened = newest(self.folder, self.request, self.team)
        if opened is None:
            return Progress()
        engine.put_back(opened.names, opened.read)
        progress = opened.manifest.progress
        logger.info("going on from %s after step %d", opened.uri, progress.step)
        return progress

    def remove(self) -> None:
        """Removes all checkpoints, once the run is finished."""
        self.finish()
        if self.team.rank == 0:
            remove_steps(self.folder, {step_of(name) for name, _ in files_in(self.folder)})

    def _retire(self) -> None:
        """Removes all but the newest ones."""
        steps = sorted({one.step for one in complete_ones(self.folder)}, reverse=True)
        remove_steps(self.folder, set(steps[self.keep :]))

    def _tidy(self) -> None:
        """Removes what a killed process left half-written: nobody writes now."""
        if self.team.rank == 0:
            whole = {one.step for one in complete_ones(self.folder)}
            for name, entry in files_in(self.folder):
                if PARTIAL.match(name) or ((step := step_of(name)) is not None and step not in whole):
                    store_for(entry.uri).remove(entry.uri)
        if self.team.local_rank == 0 and Path(self.place.scratch).is_dir():
            for path in Path(self.place.scratch).iterdir():
                if PARTIAL.match(path.name):
                    path.unlink()
        self.team.agree(None, self.team.control)  # nobody writes before it is tidy


def remove_steps(folder: str, steps: set[int | None] | set[int]) -> None:
    """Removes the checkpoints of these steps; what completes one goes first, so that none looks whole that is not."""
    doomed = [(name, entry) for name, entry in files_in(folder) if step_of(name) is not None and step_of(name) in steps]
    for _, entry in sorted(doomed, key=lambda one: ".rank-" in one[0] or ".node-" in one[0]):
        try:
            store_for(entry.uri).remove(entry.uri)
        except FileNotFoundError as error:
            raise LlmopsError(f"{entry.uri}: vanished while it was removed; does another run write to this folder?") from error


def node_scratch(folder: str) -> str:
    """The folder on this node's disk in which its processes meet before S3: the same for all of them."""
    return str(Path(tempfile.gettempdir(), f"llmops-checkpoint-{hashlib.sha256(folder.encode()).hexdigest()[:16]}"))
