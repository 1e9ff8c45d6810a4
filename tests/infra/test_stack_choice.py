"""One stack alone, as the workflows apply it."""

import sys
from pathlib import Path

import pytest

from llmops_infra.cli import main

FAKE = '#!/bin/sh\necho "$@" >> {log}\n'


@pytest.mark.slow
def test_a_release_applies_serving_and_leaves_the_platform_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """terraform is a stand-in that writes down how it is called."""
    binary, log = tmp_path / "bin" / "terraform", tmp_path / "calls"
    binary.parent.mkdir()
    binary.write_text(FAKE.format(log=log))
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(binary.parent), prepend=":")

    codes = [
        main([verb, "dev", "--stack", "serving", f"--out={tmp_path / 'out'}", *more]) for verb, more in (("plan", []), ("apply", ["--yes"]))
    ]

    assert codes == [0, 0], sys.stderr
    folder = f"-chdir={tmp_path / 'out' / 'stacks' / 'serving'}"
    assert log.read_text().splitlines() == [
        f"{folder} init -input=false -reconfigure", f"{folder} plan", f"{folder} init -input=false -reconfigure", f"{folder} apply -auto-approve",
    ]  # fmt: skip
