import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_monitor.cli import VERBS, main
from llmops_shared.config import load_config

CONFIGS = Path(__file__).parents[3] / "services" / "monitor" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_settings_load_by_the_command_on_their_first_line(path: Path) -> None:
    program, verb, flag, file, *settings = shlex.split(path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "))

    assert (program, flag, file) == ("llmops-monitor", "--config", f"services/monitor/configs/{path.name}")
    config = next(known.config for known in VERBS if known.name == verb)
    load_config(config, str(path), settings)


def test_all_wrong_settings_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", "endpoint=x", "out=y", "marginn=1", "metrics=[rouge]", "select.halves=first"])

    told = capsys.readouterr().err
    assert code == 2
    assert "3 bad settings" in told and "did you mean margin?" in told and "did you mean half?" in told
    assert "'rouge_l', 'exact_match', 'stop_share' or 'judge_preference'" in told


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys\nfrom llmops_monitor.cli import main\n"
        "try: main(['drift', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('numpy', 'scipy', 'sklearn', 'mlflow', 'evidently', 'pandas', 'boto3') if name in sys.modules], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"
    assert "reference.metadata={}" in done.stdout and "min_shift=0.2" in done.stdout


def test_a_kept_report_imports_nothing_slow(tmp_path: Path) -> None:
    from support.traffic import paired, questions, write_scene

    rows = questions()[:60]
    scene = write_scene(str(tmp_path), paired(rows), rows)
    words = ["compare", f"endpoint={scene.endpoint}", f"dataset={scene.dataset}", f"out={tmp_path / 'report'}", "max_error_increase=0.1"]
    assert main(words) == 0
    code = (
        f"import sys\nfrom llmops_monitor.cli import main\ncode = main({words!r})\n"
        "print(code, [name for name in ('numpy', 'scipy', 'sklearn', 'mlflow', 'evidently', 'pandas', 'boto3') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0 []"
    assert "finished, nothing changed" in done.stderr
