"""Runs generated programs where they can do no harm; where that is not possible, they are not run."""

import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from llmops_shared.errors import LlmopsError

ZYGOTE = Path(__file__).with_name("zygote.py")
HOW = (
    "generated programs run only in a sandbox: use Linux 5.12 or later on x86-64 with user namespaces "
    "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; in a container seccomp must allow "
    "unshare and mount), or leave these benchmarks out"
)

Status = Literal["passed", "failed", "timeout", "out_of_cpu", "too_much_output"]


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    wall_s: float = 5.0
    """Time from start to end."""
    cpu_s: float = 4.0
    """Processor time."""
    memory_bytes: int = 512 << 20
    """Address space."""
    disk_bytes: int = 16 << 20
    """Files in its /tmp, the only place it can write to; gone afterwards."""
    output_bytes: int = 64 << 10
    """What it prints."""
    processes: int = 16
    """Threads; further processes are refused altogether."""


class Outcome(NamedTuple):
    """How a program ended."""

    status: Status
    """`passed`: its last line was reached. Leaving earlier, by whatever code, is `failed`."""
    code: int
    """Exit code; above 100 the signal that ended it, plus 100."""
    output: str
    """What it printed, standard error included."""
    seconds: float
    """Time it took."""


class Sandbox:
    """Namespaces for users, mounts, network, processes and IPC; a read-only root without anybody's files; seccomp; limits.

    Use it in a `with`. Programs run one at a time; make several for several at a time. Raises LlmopsError when this machine
    cannot contain a program: nothing is run then.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits

    def __enter__(self) -> "Sandbox":
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise LlmopsError(f"sandbox: not on {platform.system()} {platform.machine()}; {HOW}")
        self.root = tempfile.TemporaryDirectory(prefix="llmops-sandbox-")
        Path(self.root.name).chmod(0o755)  # a root user becomes nobody inside
        try:
            self.zygote = subprocess.Popen(
                [sys.executable, "-I", "-S", str(ZYGOTE), self.root.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
                cwd="/",
            )
            ready = self._answer()
        except BaseException:
            self.root.cleanup()
            raise
        if not ready.get("ready"):
            self.__exit__(None, None, None)
            raise LlmopsError(f"sandbox: this machine does not allow one ({ready.get('reason', 'it did not start')}); {HOW}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for stream in (self.zygote.stdin, self.zygote.stdout, self.zygote.stderr):
            if stream is not None:
                stream.close()
        self.zygote.kill()
        self.zygote.wait()
        self.root.cleanup()

    def run(self, program: str) -> Outcome:
        """Runs a Python program. Raises LlmopsError when the sandbox itself is gone."""
        assert self.zygote.stdin is not None
        try:
            self.zygote.stdin.write(json.dumps({"program": program, **asdict(self.limits)}) + "\n")
            self.zygote.stdin.flush()
        except BrokenPipeError as error:
            raise LlmopsError("sandbox: ended unexpectedly; run the same command again") from error
        answer = self._answer()
        if "status" not in answer:
            raise LlmopsError(f"sandbox: ended unexpectedly ({answer.get('reason', '')}); run the same command again")
        return Outcome(**answer)

    def _answer(self) -> dict[str, Any]:
        assert self.zygote.stdout is not None and self.zygote.stderr is not None
        line = self.zygote.stdout.readline()
        if not line:
            return {"ready": False, "reason": self.zygote.stderr.read()[-500:].strip()}
        answer: dict[str, Any] = json.loads(line)
        return answer
