"""The commands of loop.sh, read from the script itself, so that tests and benchmarks run the very lines a person runs."""

import importlib
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]


class Step(NamedTuple):
    """One command and the exit code it must have."""

    argv: list[str]
    exit_code: int

    @property
    def name(self) -> str:
        """The folder it writes, which is how the loop calls it."""
        out = next((word for word in self.argv if word.startswith("out=")), "out=" + self.argv[0])
        return Path(out.removeprefix("out=")).name


def steps(work: Path) -> list[Step]:
    """Every command of the loop, `$WORK` replaced."""
    script = (REPOSITORY / "loop.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in script.splitlines():
        match = re.match(r"(?:step |expect (?P<code>\d+) )?(?P<command>llmops-.*?)(?: &)?$", line)
        if match:
            argv = shlex.split(match["command"].replace("$WORK", str(work)))
            found.append(Step(argv, int(match["code"] or 0)))
    return found


def main_of(program: str) -> Callable[[Sequence[str]], int]:
    """The `main(argv)` behind a console command."""
    module = "llmops_shared.show" if program == "llmops-show" else f"{program.replace('-', '_')}.cli"
    main: Callable[[Sequence[str]], int] = importlib.import_module(module).main
    return main
