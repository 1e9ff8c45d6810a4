"""Every shipped YAML validates against its command, and opens with the line that runs it."""

import re
import shlex

import pytest

from llmops_shared.config import load_config
from support.golden import REPOSITORY, verbs
from support.loop import steps

CONFIGS = sorted(REPOSITORY.glob("services/*/configs/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_opens_with_the_command_that_runs_it(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    command = re.fullmatch(r"# (llmops-(\w+) .*)", first)
    assert command, f"{path.name} opens with {first!r}"
    argv = shlex.split(command[1])
    verb = next(verb for verb in verbs(command[2]) if verb.name == argv[1])

    assert argv[argv.index("--config") + 1] == str(path.relative_to(REPOSITORY))
    load_config(verb.config, str(path), [word for word in argv[2:] if "=" in word])


def test_the_loop_or_a_service_s_page_uses_every_shipped_config(tmp_path):
    looped = {word for step in steps(tmp_path) for word in step.argv if word.endswith(".yaml")}
    pages = "".join(page.read_text(encoding="utf-8") for page in REPOSITORY.glob("services/*/README.md"))
    shipped = {str(path.relative_to(REPOSITORY)) for path in CONFIGS}

    assert looped <= shipped
    assert [path for path in sorted(shipped - looped) if f"--config {path}" not in pages] == []
