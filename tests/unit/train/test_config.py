"""Settings: rules between fields, shipped files, help."""

from pathlib import Path

import pytest

from llmops_shared.config import load_config
from llmops_shared.errors import LlmopsError
from llmops_train.cli import main
from llmops_train.config import TrainConfig
from llmops_train.evaluation.config import CompareConfig, EvaluateConfig

CONFIGS = Path(__file__).parents[3] / "services" / "train" / "configs"
GIVEN = {
    "pretrain.yaml": (TrainConfig, ["dataset=d", "out=o"]),
    "lora.yaml": (TrainConfig, ["dataset=d", "model=m", "out=o"]),
    "evaluate.yaml": (EvaluateConfig, ["run=r", "dataset=d", "out=o"]),
    "compare.yaml": (CompareConfig, ["baseline=b", "candidate=c", "out=o"]),
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_file_loads_with_what_its_first_line_adds(path: Path) -> None:
    model, words = GIVEN[path.name]

    config = load_config(model, str(path), words)

    opening = path.read_text().splitlines()[0]
    assert opening.startswith("# llmops-train ") and f"services/train/configs/{path.name}" in opening
    assert all(f"{word.partition('=')[0]}=" in opening for word in words)
    assert config.out == "o"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=lora", "lora.rank=4"], "starts from a model"),
        (["method=full", "model=m", "lora.rank=4"], "lora describes an adapter"),
        (["method=lora", "model=m"], "needs `lora:"),
        (["method=pretrain"], "needs either architecture"),
        (["method=pretrain", "model=m", "architecture.num_layers=1"], "without model"),
        (["method=full", "model=m", "architecture.num_layers=1"], "without model"),
        (["method=lora", "model=m", "lora.rank=4", "optimizer.kind=muon"], "muon is for weight matrices"),
        (["method=full", "model=m", "max_steps=3", "num_epochs=1"], "given: num_epochs, max_steps"),
        (["method=full", "model=m", "optimizer.schedule=linear", "optimizer.warmup_share=0.6"], "more than all steps"),
        (["method=pretrain", "architecture.hidden_size=30"], "multiple of 2 x num_heads"),
        (["method=pretrain", "architecture.num_layer=3"], "did you mean num_layers?"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    length = [] if any(word.startswith("max_steps") for word in words) else ["max_steps=1"]

    code = main(["run", "name=x", "dataset=d", "out=o", *words, *length])

    assert code == 2
    assert message in capsys.readouterr().err


def test_a_run_needs_a_length() -> None:
    with pytest.raises(LlmopsError, match="exactly one of num_epochs, max_steps, max_tokens; given: none"):
        load_config(TrainConfig, None, ["name=x", "method=full", "model=m", "dataset=d", "out=o"])


def test_all_bad_fields_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "run=r", "limit=0", "colour=red"]) == 2

    message = capsys.readouterr().err
    assert all(key in message for key in ("out: required", "limit: ", "colour: unknown key"))
