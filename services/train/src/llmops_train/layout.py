"""The folder of a package: `model/` for every engine, and `adapter/` where base and adapter stay apart."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

from llmops_shared.errors import LlmopsError
from llmops_train.methods.kinds import num_virtual_tokens
from llmops_train.model import count_parameters, load_directory, load_model, load_tokenizer, save_model
from llmops_train.source import ModelFiles, model_paths

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Facts(NamedTuple):
    """What a server wants to know before it loads the model."""

    architecture: str
    num_parameters: int
    max_context_tokens: int
    dtype: str


def lay_out(files: ModelFiles, layout: str, folder: Path) -> ModelFiles:
    """Writes the package's folder and returns where its parts are."""
    model = folder / "model"
    model.mkdir()
    kept = files.adapters[:-1] if layout == "adapter" else files.adapters
    if kept:
        save_model(load_model(ModelFiles(files.folder, kept, files.tokenizer)), model)
    else:
        for path in model_paths(files.folder):
            shutil.copyfile(path, model / path.name)
    copy_tokenizer(files.tokenizer, model)
    write_generation_config(model)
    if layout == "merged":
        return ModelFiles(model, (), model)
    adapter = folder / "adapter"
    adapter.mkdir()
    for name in ADAPTER_FILES:
        shutil.copyfile(files.adapters[-1] / name, adapter / name)
    return ModelFiles(model, (adapter,), model)


def copy_tokenizer(source: Path, model: Path) -> None:
    """The tokenizer's files, in place of any the base model brought."""
    for path in source.iterdir():
        if path.is_file() and path.name not in (*ADAPTER_FILES, "config.json", "generation_config.json") and path.suffix != ".safetensors":
            shutil.copyfile(path, model / path.name)


def write_generation_config(model: Path) -> None:
    """Servers stop at the end-of-text token named here, which must be the one the answers were learnt with."""
    path = model / "generation_config.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    tokenizer = load_tokenizer(model)
    settings |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def facts_of(files: ModelFiles) -> Facts:
    """The facts of a laid-out package."""
    config = json.loads((files.folder / "config.json").read_text())
    if "max_position_embeddings" not in config:
        raise LlmopsError(f"{files.folder}/config.json: names no max_position_embeddings, the longest prompt; add it")
    model = load_directory(files.folder)
    return Facts(
        architecture=type(model).__name__,
        num_parameters=count_parameters(model),
        max_context_tokens=config["max_position_embeddings"] - sum(map(num_virtual_tokens, files.adapters)),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
    )
