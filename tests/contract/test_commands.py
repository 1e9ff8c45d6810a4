"""What every command promises: fast help, one message for bad settings, the documented exit codes."""

import subprocess
import sys
import time

import pytest

from support.golden import SERVICES, verbs
from support.loop import main_of

COMMANDS = [(service, verb.name) for service in SERVICES for verb in verbs(service)]
NAMES = [f"{service} {verb}" for service, verb in COMMANDS]


@pytest.mark.parametrize(("service", "verb"), COMMANDS, ids=NAMES)
def test_help_names_every_setting_with_a_text(service, verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main_of(f"llmops-{service}")([verb, "--help"])

    lines = capsys.readouterr().out.partition("settings:\n")[2].splitlines()
    keys = [line for line in lines if line.startswith("  ") and not line.startswith("      ")]
    bare = [key for key, after in zip(lines, [*lines[1:], ""], strict=True) if key in keys and not after.startswith("      ")]
    assert stopped.value.code == 0
    assert keys
    assert bare == []


@pytest.mark.parametrize("service", SERVICES)
def test_help_loads_nothing_slow(service):
    slow = "torch transformers peft mlflow pandas evidently sklearn scipy boto3 openai psycopg starlette uvicorn".split()
    program = f"import sys; from llmops_{service}.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint([m for m in {slow!r} if m in sys.modules])"

    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("service", "verb"), COMMANDS, ids=NAMES)
def test_all_bad_settings_are_named_at_once_and_exit_2(service, verb, capsys):
    code = main_of(f"llmops-{service}")([verb, "no_such_key=1", "nor_this=2"])

    message = capsys.readouterr().err
    assert code == 2
    assert "no_such_key: unknown key" in message
    assert "nor_this: unknown key" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("service", SERVICES)
def test_a_config_file_that_is_missing_is_named(service, capsys):
    verb = verbs(service)[0].name

    code = main_of(f"llmops-{service}")([verb, "--config", "/no/such.yaml"])

    assert code == 2
    assert "/no/such.yaml" in capsys.readouterr().err


def test_help_is_quick_enough_to_type():
    """A bound far above the aim (0.3 s of CPU, see the loop's benchmark), so that only a heavy import trips it."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "llmops_train.cli", "--help"], check=True, capture_output=True)

    assert time.perf_counter() - started < 5
