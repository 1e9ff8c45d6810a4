"""`llmops-train`: trains, evaluates and packages models."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from llmops_shared.command import Verb, run_command
from llmops_shared.errors import LlmopsError
from llmops_train.config import PackageConfig, TrainConfig
from llmops_train.container_config import ContainerConfig
from llmops_train.doctor_config import DoctorConfig
from llmops_train.evaluation.config import CompareConfig, EvaluateConfig
from llmops_train.feed_config import FeedServerConfig
from llmops_train.plan.config import PlanConfig
from llmops_train.streams import chatter_on_stderr

if TYPE_CHECKING:
    from llmops_shared.contracts import ModelPackage, Report, TrainingRun
    from llmops_train.plan.document import TrainingPlan


def train(config: TrainConfig) -> "TrainingRun | None":
    from llmops_train.interruption import Interrupted
    from llmops_train.parallel.world import world_of
    from llmops_train.run import run

    world = world_of(os.environ)
    if config.launch is not None and world.address is None:
        from llmops_train.launchers.launch import launch

        return launch(config, config.launch, ["--log-json"] if "--log-json" in sys.argv else [])
    try:
        with chatter_on_stderr():
            return run(config, world)
    except Interrupted as interrupted:
        print(f"llmops-train run: {interrupted}", file=sys.stderr)
        return None
    except LlmopsError as error:
        from llmops_train.launchers.local import leave_reason

        leave_reason(error, os.environ)
        raise


def rehearse(config: TrainConfig) -> dict[str, Any]:
    if config.launch is None:
        return {}
    from llmops_train.launchers.launch import rehearse

    return rehearse(config, config.launch)


def plan(config: PlanConfig) -> "TrainingPlan":
    from llmops_train.plan.make import plan

    with chatter_on_stderr():
        return plan(config)


def evaluate(config: EvaluateConfig) -> "Report":
    from llmops_train.evaluate import evaluate

    return evaluate(config)


def compare(config: CompareConfig) -> "Report":
    from llmops_train.compare import compare

    return compare(config)


def package(config: PackageConfig) -> "ModelPackage":
    from llmops_train.package import package

    with chatter_on_stderr():
        return package(config)


def feed(config: FeedServerConfig) -> None:
    from llmops_train.feed.server import serve

    serve(config)


def examine(config: DoctorConfig) -> "Report":
    from llmops_train.doctor.run import doctor

    with chatter_on_stderr():
        report = doctor(config)
    for reason in report.reasons:
        print(f"llmops-train doctor: {reason}", file=sys.stderr)
    return report


def train_in_container(config: ContainerConfig) -> "TrainingRun | None":
    from llmops_train.container import train
    from llmops_train.interruption import Interrupted

    try:
        with chatter_on_stderr():
            return train(config, os.environ, ["--log-json"])
    except Interrupted as interrupted:
        print(f"llmops-train train: {interrupted}", file=sys.stderr)
        return None


VERBS: list[Verb[Any]] = [
    Verb("run", "train a model on a dataset and write a TrainingRun", TrainConfig, train, rehearse=rehearse),
    Verb(
        "plan",
        "memory, time, price and quota of a run before it starts: plan CONFIG; 3 when no place is without problems",
        PlanConfig,
        plan,
        refuses=lambda document: document.verdict == "fail",
    ),
    Verb(
        "evaluate",
        "measure a model, an endpoint or predictions and write a Report; 3 when a threshold or the baseline is missed",
        EvaluateConfig,
        evaluate,
        refuses=lambda report: report.verdict in ("fail", "worse"),
    ),
    Verb(
        "compare",
        "compare two evaluations row by row: compare BASELINE CANDIDATE; 3 when the candidate is worse",
        CompareConfig,
        compare,
        refuses=lambda report: report.verdict == "worse",
    ),
    Verb(
        "doctor",
        "check an image or a host before money is spent; 3 with each finding and its fix",
        DoctorConfig,
        examine,
        refuses=lambda report: report.verdict == "fail",
    ),
    Verb("train", "train inside a SageMaker container, which calls this on every host", ContainerConfig, train_in_container),
    Verb("feed", "read and collate data for the training hosts of a heterogeneous cluster, until they are done", FeedServerConfig, feed),
    Verb("package", "make the folder a server loads, test it and write a ModelPackage", PackageConfig, package),
]


def main(argv: Sequence[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would compete with torch's
    # torch's threads (libgomp) spin for milliseconds before they sleep: beside other work on the same cores a step took ten times as long
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    words = in_full(sys.argv[1:] if argv is None else argv)
    return run_command("llmops-train", "Trains, evaluates and packages language models.", VERBS, words)


def in_full(words: Sequence[str]) -> list[str]:
    """The command line with its short forms written out: `plan CONFIG`, `compare REPORT REPORT`, `evaluate --review` for the usual one."""
    if words[:1] == ["plan"] and len(words) > 1 and "=" not in words[1] and not words[1].startswith("-"):
        return ["plan", "--config", *words[1:]]
    if words[:1] == ["evaluate"]:
        return ["review.queue.uri=build/review.db" if word == "--review" else word for word in words]
    if words[:1] != ["compare"]:
        return list(words)
    names, full = iter(("baseline", "candidate")), list(words[:1])
    for before, word in pairwise(words):
        bare = not word.startswith("-") and "=" not in word and before != "--config"
        name = next(names, None) if bare else None
        full.append(word if name is None else f"{name}={word}")
    return full


if __name__ == "__main__":
    sys.exit(main())
