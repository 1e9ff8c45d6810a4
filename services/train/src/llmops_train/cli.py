"""`llmops-train`: trains, evaluates and packages models."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmops_shared.command import Verb, run_command
from llmops_train.config import EvaluateConfig, PackageConfig, TrainConfig

if TYPE_CHECKING:
    from llmops_shared.contracts import ModelPackage, Report, TrainingRun


def train(config: TrainConfig) -> "TrainingRun":
    from llmops_train.run import run

    return run(config)


def evaluate(config: EvaluateConfig) -> "Report":
    from llmops_train.evaluate import evaluate

    return evaluate(config)


def package(config: PackageConfig) -> "ModelPackage":
    from llmops_train.package import package

    return package(config)


VERBS: list[Verb[Any]] = [
    Verb("run", "train a model on a dataset and write a TrainingRun", TrainConfig, train),
    Verb("evaluate", "measure a run on a split it has not seen and write a Report", EvaluateConfig, evaluate),
    Verb("package", "make the folder a server loads, test it and write a ModelPackage", PackageConfig, package),
]


def main(argv: Sequence[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would compete with torch's
    # torch's threads (libgomp) spin for milliseconds before they sleep: beside other work on the same cores a step took ten times as long
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    return run_command("llmops-train", "Trains, evaluates and packages language models.", VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
