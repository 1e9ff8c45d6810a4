"""The command `llmops-preprocess`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmops_preprocess.active_config import ChooseConfig, LabelsConfig, SimulateConfig
from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.index_config import DropConfig, IndexConfig
from llmops_preprocess.labeling_config import LabelConfig
from llmops_shared.command import Verb, run_command

if TYPE_CHECKING:
    from llmops_shared.contracts import DatasetManifest, RetrievalIndex


def run(config: PreprocessConfig) -> "DatasetManifest":
    from llmops_preprocess.dataset import make_dataset

    return make_dataset(config)


def plan_run(config: PreprocessConfig) -> dict[str, Any] | None:
    """The request that starts a Glue job; another engine runs here and asks nobody."""
    if config.engine != "glue":
        return None
    from llmops_preprocess.glue import find_wheels, job_run_request

    return {"StartJobRun": job_run_request(config, find_wheels(config))}


def index(config: IndexConfig) -> "RetrievalIndex":
    from llmops_preprocess.index import build_index

    return build_index(config)


def plan_index(config: IndexConfig) -> dict[str, Any]:
    from llmops_preprocess.index import plan_index

    return plan_index(config)


def drop(config: DropConfig) -> None:
    from llmops_preprocess.index import drop_index

    drop_index(config)


def label(config: LabelConfig) -> None:
    from llmops_preprocess.ground_truth import start_labeling

    start_labeling(config)


def plan_label(config: LabelConfig) -> dict[str, Any]:
    from llmops_preprocess.ground_truth import request

    return {"CreateLabelingJob": request(config)}


def labels(config: LabelsConfig) -> None:
    from llmops_preprocess.labels import read_back

    read_back(config)


def choose(config: ChooseConfig) -> None:
    from llmops_preprocess.labels import choose_rows

    choose_rows(config)


def simulate(config: SimulateConfig) -> None:
    from llmops_preprocess.labels import show_curves

    show_curves(config)


def requests(config: PreprocessConfig) -> None:
    from llmops_preprocess.requests import print_plan

    print_plan(config)


VERBS: list[Verb[Any]] = [
    Verb(
        "run",
        "makes a dataset of raw text: filtered, deduplicated, split, tokenized and packed",
        PreprocessConfig,
        run,
        rehearse=plan_run,
    ),
    Verb("index", "cuts a text dataset into chunks and makes them searchable by meaning", IndexConfig, index, rehearse=plan_index),
    Verb("drop", "removes an index that nothing serves any more from its vector store", DropConfig, drop, subject="index"),
    Verb("label", "asks people for labels of rows: a Ground Truth labeling job", LabelConfig, label, rehearse=plan_label),
    Verb("labels", "reads labels of Ground Truth or of the review queue back into rows, with their confidence", LabelsConfig, labels),
    Verb("choose", "active learning: chooses the rows whose labels teach most, and puts them before people", ChooseConfig, choose),
    Verb("simulate", "shows how many labels active learning saves on rows whose labels are known", SimulateConfig, simulate),
    Verb("requests", "tells the requests to S3 that a run will send, by prefix and a second", PreprocessConfig, requests),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command("llmops-preprocess", "From raw text to datasets and retrieval indexes.", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
