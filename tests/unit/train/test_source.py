"""Where a model comes from, without loading it."""

import json
from pathlib import Path

import pytest

from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, store_for
from llmops_train.source import identify, open_source


def write_model(uri: str, weights: str = "model.safetensors") -> str:
    store_for(uri).write(join(uri, "config.json"), json.dumps({"model_type": "llama"}).encode())
    store_for(uri).write(join(uri, weights), b"weights")
    return uri


@pytest.mark.slow
def test_a_model_directory_is_known_by_the_names_and_contents_of_its_files(root: str) -> None:
    one, same, other = (write_model(join(root, name)) for name in ("one", "same", "other"))
    store_for(other).write(join(other, "model.safetensors"), b"other weights")
    store_for(same).write(join(same, "pytorch_model.bin"), b"ignored")

    assert identify(one).kind == "directory"
    assert identify(one).sha256 == identify(same).sha256 != identify(other).sha256
    assert (open_source(identify(one)).folder / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_weights_that_can_run_code_are_refused(root: str, weights: str) -> None:
    uri = write_model(join(root, "model"), weights)

    with pytest.raises(LlmopsError, match=rf"no \*\.safetensors \(has {weights}\).*refused"):
        identify(uri)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match=r"holds no run\.json, package\.json or config\.json"):
        identify(str(tmp_path / "nothing"))


def test_a_model_of_the_hub_is_known_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--some-owner--some-model"
    snapshot = write_model(str(cached / "snapshots" / ("0" * 40)))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)

    source = identify("some-owner/some-model")

    assert (source.kind, source.given) == ("directory", "some-owner/some-model")
    assert open_source(source).folder == Path(snapshot)


def test_an_id_the_hub_does_not_give_says_both_ways_out() -> None:
    with pytest.raises(LlmopsError, match="no-such-owner/no-such-model: is no folder here, and the Hugging Face hub does not give it"):
        identify("no-such-owner/no-such-model")
