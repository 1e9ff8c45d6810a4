"""What a plan is made from: the model's sizes and the dataset's, read from small documents; no weights are fetched."""

import json
import math
from typing import NamedTuple

from llmops_shared.contracts import DatasetManifest, ModelPackage, TrainingRun
from llmops_shared.documents import document_uri, follow, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, folder_of, join, store_for
from llmops_train.config import TrainConfig
from llmops_train.methods.kinds import has_adapter
from llmops_train.plan.shape import Shape, shape_of, shape_of_architecture
from llmops_train.source import HUB_ID


class Work(NamedTuple):
    """How much is to be trained."""

    num_tokens: int
    """Padding left out."""
    num_steps: int
    sequence_length: int
    fill: float
    """Share of the places in packed sequences that are no padding."""


def shape_of_start(config: TrainConfig, manifest: DatasetManifest) -> Shape:
    """The model's sizes, new or from its config.json."""
    if config.model is None:
        assert config.architecture is not None
        return shape_of_architecture(config.architecture, manifest.tokenizer.vocab_size)
    place = config_place(config.model)
    return shape_of(json.loads(store_for(place).read(place)), place)


def config_place(uri: str) -> str:
    """Where the config.json of a model is; of an adapter that of the model below it. Raises LlmopsError when there is none."""
    place = document_uri(uri, TrainingRun)
    if place.endswith(f"/{TrainingRun.file_name}") and exists(place):
        return config_of_run(place, read_document(place, TrainingRun))
    place = document_uri(uri, ModelPackage)
    if place.endswith(f"/{ModelPackage.file_name}") and exists(place):
        return join(folder_of(place), "model", "config.json")
    if exists(join(uri, "config.json")):
        return join(uri, "config.json")
    if HUB_ID.match(uri):
        return from_hub(uri)
    raise LlmopsError(
        f"model {uri}: has no run.json, package.json or config.json; give a run, a package, a model directory or a Hugging Face id"
    )


def config_of_run(place: str, run: TrainingRun) -> str:
    """Of a run with an adapter, that of what it was trained over."""
    if not has_adapter(run):
        return join(folder_of(place), "model", "config.json")
    if run.parent is not None:
        return config_of_run(*follow(run.parent, folder_of(place), TrainingRun))
    if run.base_model is None:
        raise LlmopsError(f"{place}: names neither parent nor base_model, so its adapter belongs to no model; train it again")
    return config_place(run.base_model.uri)


def from_hub(hub_id: str) -> str:
    """The local copy of a hub model's config.json alone."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return str(hf_hub_download(hub_id, "config.json"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise LlmopsError(f"model {hub_id}: the Hugging Face hub does not give its config.json ({str(error).splitlines()[0]})") from error


def work_of(config: TrainConfig, place: str, manifest: DatasetManifest) -> Work:
    """Tokens and steps of the run. Raises LlmopsError when the dataset has no train split."""
    split = manifest.splits.get("train")
    sequences = sum(shard.num_sequences for shard in split.shards) if split else 0
    if split is None or sequences == 0:
        raise LlmopsError(f"{place}: split 'train' has no shards; rerun preprocess with more text or a larger share for it")
    each = split.num_tokens / sequences
    if config.max_steps is not None:
        steps = config.max_steps
    elif config.max_tokens is not None:
        steps = math.ceil(config.max_tokens / (config.batch_sequences * each))
    else:
        assert config.num_epochs is not None
        steps = max(1, round(config.num_epochs * sequences / config.batch_sequences))
    documents = 2 if config.method == "dpo" else 1  # a pair is two conversations, about as long as each other
    return Work(int(steps * config.batch_sequences * each) * documents, steps, manifest.sequence_length, each / manifest.sequence_length)
