"""`llmops-train run`: from a dataset, and a model to start from, to a TrainingRun."""

import hashlib
import importlib.metadata
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops_shared.config import Tracking
from llmops_shared.contracts import DatasetManifest, Part, TrainingRun
from llmops_shared.contracts.run import BaseModelSource
from llmops_shared.documents import document_uri, read_document, refer, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import exists, join, store_for
from llmops_shared.tracking import Run, tracked
from llmops_train.config import TrainConfig
from llmops_train.interruption import Stop, stoppable
from llmops_train.parallel.world import World
from llmops_train.source import Source, fetch_tokenizer, identify

if TYPE_CHECKING:
    from llmops_train.checkpoint import Checkpoint, Progress
    from llmops_train.parallel.mesh import Mesh

logger = logging.getLogger(__name__)

ALONE = World()
FURTHER = ("preference_accuracy", "preference_margin", "mfu", "padding_share")


def run(config: TrainConfig, world: World = ALONE) -> TrainingRun | None:
    """Trains as the config says; a finished run is kept, an interrupted one goes on from its checkpoint.

    Of several processes all train and the first returns the document. Raises Interrupted on SIGTERM, after a complete checkpoint.
    """
    with stoppable() as stop:
        return train_all(config, world, stop)


def train_all(config: TrainConfig, world: World, stop: Stop) -> TrainingRun | None:
    """The job itself."""
    inputs = read_inputs(config)
    kept = finished(identity(config), TrainingRun, inputs.digests) if world.is_first else None
    if kept is not None or exists(document_uri(config.out, TrainingRun)):
        return kept
    check_view(config, inputs.place, inputs.manifest)

    import torch  # these take seconds, which a kept run need not

    from llmops_train.loop import train
    from llmops_train.methods.objective import objective_of
    from llmops_train.methods.start import make_model, open_data, store_weights
    from llmops_train.parallel.engine import make_engine
    from llmops_train.parallel.mesh import joined
    from llmops_train.watching.open import open_watch
    from llmops_train.watching.system import watch_system

    torch.set_num_threads(config.num_threads or torch.get_num_threads())
    place, manifest = inputs.place, inputs.manifest
    tokenizer_folder = fetch_tokenizer(place, manifest)
    packed, validation = open_data(config, place, manifest, tokenizer_folder)
    model = make_model(config, inputs.source, tokenizer_folder, manifest)
    sizes = count_weights(config, model)

    with (
        joined(config.parallel, world) as mesh,
        tracked(config.tracking if world.is_first else Tracking(), "train", config.name) as tracking,
    ):
        record_start(config, inputs, sizes, tracking)
        objective = objective_of(config, model)
        engine = make_engine(model, objective.loss, config, mesh)
        if config.parallel.engine != "none" and world.is_first:
            keep_layout(config, engine.proof(), tracking)
        checkpoint = open_checkpoint(config, request_digest(config, inputs.digests), mesh)
        watch = open_watch(config, model, place, manifest, tokenizer_folder, tracking, world.size) if world.is_first else None
        with watch_system(tracking):
            progress = train(engine, packed, validation, config, checkpoint, tracking.metrics, stop, objective, watch)
        trained = engine.whole(lambda: make_model(config, inputs.source, tokenizer_folder, manifest))
        if trained is None:
            return None
        weights = store_weights(config, trained, tokenizer_folder)
        document = document_of(config, inputs, sizes, weights, progress, tracking.run_id)
        keep_document(document, tracking)
    write_document(config.out, document)
    checkpoint.remove()
    return document


class Inputs(NamedTuple):
    """What a run is made from."""

    place: str
    """URI of the dataset's document."""
    manifest: DatasetManifest
    source: Source | None
    """The model it starts from; None for a new one."""
    digests: dict[str, str]


def read_inputs(config: TrainConfig) -> Inputs:
    """The dataset, and which model the run starts from."""
    place = document_uri(config.dataset, DatasetManifest)
    source = identify(config.model) if config.model else None
    digests = {"dataset": digest_of(place, DatasetManifest)} | ({"model": source.sha256} if source else {})
    return Inputs(place, read_document(place, DatasetManifest), source, digests)


class Sizes(NamedTuple):
    """Weights of the model, and those of them that learn."""

    num_parameters: int
    num_trainable_parameters: int


def count_weights(config: TrainConfig, model: Any) -> Sizes:
    """Counts and logs them."""
    from llmops_train.model import count_parameters

    sizes = Sizes(count_parameters(model), count_parameters(model, trainable=True))
    logger.info("%s: %s parameters, %s of them trained", config.name, *(f"{size:,}" for size in sizes))
    return sizes


def record_start(config: TrainConfig, inputs: Inputs, sizes: Sizes, tracking: Run) -> None:
    """Settings and inputs in MLflow."""
    parameters = {**sizes._asdict(), "parent": inputs.digests.get("model", "")[:12]}
    tracking.parameters({**config.model_dump(exclude={"out", "tracking"}, exclude_none=True), **parameters})
    tracking.dataset(inputs.manifest, inputs.place, inputs.digests["dataset"], "training")


def document_of(
    config: TrainConfig, inputs: Inputs, sizes: Sizes, weights: list[Part], progress: "Progress", mlflow_run_id: str | None
) -> TrainingRun:
    """What the run came to."""
    figures, source = progress.curve[-1][1], inputs.source
    return TrainingRun(
        name=config.name,
        method=config.method,
        dataset=refer(inputs.place, DatasetManifest, config.out),
        parent=refer(source.place, TrainingRun, config.out) if source and source.kind == "run" else None,
        base_model=BaseModelSource(uri=source.given, sha256=source.sha256) if source and source.kind != "run" else None,
        weights=weights,
        **sizes._asdict(),
        num_steps=progress.step,
        num_tokens=progress.num_tokens,
        seed=config.seed,
        metrics={
            "train_loss": figures["train_loss"],
            "validation_loss": figures["validation_loss"],
            "tokens_per_second": progress.num_tokens / progress.train_seconds,
            "train_seconds": progress.train_seconds,
            **{name: figures[name] for name in FURTHER if name in figures},
        },
        mlflow_run_id=mlflow_run_id,
        versions={name: importlib.metadata.version(name) for name in ("llmops-train", "torch", "transformers", "peft")},
    )


def keep_document(document: TrainingRun, tracking: Run) -> None:
    """A copy of the document with the run in MLflow."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / TrainingRun.file_name
        path.write_bytes(document.to_json())
        tracking.artifact(path)


def check_view(config: TrainConfig, place: str, manifest: DatasetManifest) -> None:
    """Raises LlmopsError when the dataset is of the other view."""
    wanted = "text" if config.method == "pretrain" else "chat"
    if manifest.view != wanted:
        raise LlmopsError(
            f"{place}: is a {manifest.view} dataset, but method {config.method} learns from a {wanted} dataset; "
            f"give one, or choose method {'pretrain' if manifest.view == 'text' else 'lora, full or another'}"
        )


def identity(config: TrainConfig) -> TrainConfig:
    """The settings that decide the result: not how the data comes, how processes share the work, or where it is saved meanwhile."""
    defaults = {name: TrainConfig.model_fields[name].default for name in MEANS}
    return config.model_copy(update={"feed": config.feed.identity(), **defaults})


MEANS = (
    "examples",
    "example_tokens",
    "launch",
    "parallel",
    "micro_batch_sequences",
    "gradient_checkpointing",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "checkpoint_uri",
    "checkpoint_scratch",
    "checkpoint_part_mib",
)


def keep_layout(config: TrainConfig, layout: dict[str, Any], tracking: Run) -> None:
    """Keeps what the engine derived from the settings, with the run and in MLflow."""
    content = json.dumps(layout, indent=2, sort_keys=True).encode() + b"\n"
    store_for(config.out).write(join(config.out, "parallel.json"), content)
    tracking.parameters({"layout": layout})


def open_checkpoint(config: TrainConfig, request: str, mesh: "Mesh") -> "Checkpoint":
    """The run's checkpoints, written by the mesh's processes together."""
    from llmops_train.checkpoint import Checkpoint
    from llmops_train.checkpoint.team import Team

    world = mesh.world
    team = Team(world.rank, world.size, world.local_rank, world.local_size, mesh.control, mesh.background)
    folder = config.checkpoint_uri or join(config.out, "checkpoint")
    return Checkpoint(folder, request, team, config.keep_checkpoints, config.checkpoint_scratch, config.checkpoint_part_mib * 2**20)


def request_digest(config: TrainConfig, inputs: dict[str, str]) -> str:
    """Digest of everything that decides the result: a checkpoint belongs to one such request."""
    request = {"settings": identity(config).model_dump(mode="json", exclude={"out", "tracking"}), "inputs": inputs}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
