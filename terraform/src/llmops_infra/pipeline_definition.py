"""The pipeline from raw text to the next Endpoint document, as SageMaker's JSON: the commands of the loop, one a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmops_infra.pipeline_settings import Pipeline, words_of
from llmops_infra.pipeline_steps import (
    Place,
    Step,
    Value,
    condition,
    document_value,
    fail,
    joined,
    parameter,
    processing,
    register,
    training,
)  # fmt: skip
from llmops_infra.settings import Training

NONE = "null"
"""What `Baseline` is when an execution does not name it; the command reads it as not given."""
PASSED: list[Value] = ["pass", "better", "no_difference"]
"""Verdicts of an evaluation that let the model through."""


@dataclass(frozen=True)
class Places:
    """What the platform made for the pipeline's steps."""

    folders: Mapping[str, str]
    """Prefix in S3 by kind of document: `raw`, `datasets`, `indexes`, `runs`, `packages`, `endpoints`, `exchanges`."""
    repositories: Mapping[str, str]
    """Image repository by service."""
    serving_image: str
    """Image of the container that serves packages, for the registry."""
    model_group: str
    """Model package group."""


def definition(settings: Pipeline, train: Training, places: Places, place: Place, *, needs_efa: bool) -> dict[str, Any]:
    """The definition. An execution is named by its parameter `Run`, below which all its documents lie: the same name again
    finds what is finished, so that a second start costs nothing."""
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": parameters(settings, train, places),
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": Stages(settings, train, places, place, needs_efa).steps(),
    }


def parameters(settings: Pipeline, train: Training, places: Places) -> list[dict[str, Any]]:
    """What an execution may set; what has no default it must."""
    defaults: dict[str, Any] = {
        "Run": None,
        "Source": places.folders["raw"],
        "Model": settings.model,
        "Baseline": NONE,
        **({"Endpoint": settings.endpoint} if settings.endpoint else {}),
        "ImageTag": settings.image_tag,
        "InstanceType": train.instance_type,
        "InstanceCount": train.num_instances,
        "Approval": "Approved" if settings.approve else "PendingManualApproval",
    }
    return [
        {"Name": name, "Type": "Integer" if isinstance(value, int) else "String"} | ({} if value is None else {"DefaultValue": value})
        for name, value in defaults.items()
    ]


class Stages:
    """The steps, in the order of the loop."""

    def __init__(self, settings: Pipeline, train: Training, places: Places, place: Place, needs_efa: bool) -> None:
        assert settings.recipes is not None
        self.needs_efa = needs_efa
        self.settings, self.recipes, self.train_settings = settings, settings.recipes, train
        self.places, self.place = places, place

    def steps(self) -> list[Step]:
        """All of them."""
        accepted = [self.package(), self.register(), self.release()]
        refusal = fail("Refuse", joined("the evaluation says ", document_value("Evaluate", "verdict"), ": ", self.at("runs", "evaluation")))
        gate = {"Type": "In", "QueryValue": document_value("Evaluate", "verdict"), "Values": PASSED}
        return [
            self.preprocess(),
            *([self.documents(), self.index()] if self.recipes.index else []),
            self.train(),
            self.evaluate(),
            # a condition inside a condition is not supported, nor is waiting in a branch for a step outside of it
            condition("Gate", conditions=[gate], then=accepted, otherwise=[refusal], after=["Index"] if self.recipes.index else []),
        ]

    def preprocess(self) -> Step:
        """Raw text to the dataset that is learnt."""
        words = ["run", *self.read(self.recipes.preprocess), joined("tokenizer=", parameter("Model")), self.out("datasets", "dataset")]
        return self.job("Preprocess", "preprocess", words, max_runtime_s=86_400)

    def documents(self) -> Step:
        """Raw text to the documents that are looked up."""
        assert self.recipes.documents is not None
        words = ["run", *self.read(self.recipes.documents), joined("tokenizer=", parameter("Model")), self.out("datasets", "documents")]
        return self.job("Documents", "preprocess", words, max_runtime_s=86_400, after=["Preprocess"])

    def index(self) -> Step:
        """The documents to a retrieval index."""
        assert self.recipes.index is not None
        words = ["index", *words_of(self.recipes.index), self.word("dataset", "datasets", "documents"), self.out("indexes", "index")]
        return self.job("Index", "preprocess", words, after=["Documents"])

    def read(self, recipe: Mapping[str, Any]) -> list[Value]:
        """A recipe's words, and the place of the raw text where it names none."""
        source = recipe.get("source", {})
        given = [] if "uri" in source or source.get("kind") == "python_stdlib" else [joined("source.uri=", parameter("Source"))]
        return [*words_of(dict(recipe)), *given]

    def train(self) -> Step:
        """The dataset and the model to start from to a training run; checkpoints lie beside it, so that a stopped job goes on."""
        settings = self.train_settings
        recipe: dict[str, Value] = dict(word.split("=", 1) for word in words_of(self.recipes.train))
        own = {
            "dataset": self.at("datasets", "dataset"),
            "model": parameter("Model"),
            "out": self.at("runs", "run"),
            "container.run_id": parameter("Run"),
            "container.require_efa": str(self.needs_efa).lower(),
        }
        instances = self.place.cluster(
            "train", parameter("InstanceType"), parameter("InstanceCount"), 500, known_type=settings.instance_type
        )
        warm = {} if settings.spot or not settings.warm_pool_s else {"KeepAlivePeriodInSeconds": settings.warm_pool_s}
        return training(
            "Train",
            self.place,
            image=self.image("train"),
            command=["llmops-train", "train", "root=/opt/ml"],
            settings=recipe | own,
            role="train",
            instances=instances | warm,
            output=self.at("runs", "output"),
            spot=settings.spot,
            max_runtime_s=settings.max_runtime_s,
            max_wait_s=settings.max_wait_s,
            after=["Preprocess"],
        )

    def evaluate(self) -> Step:
        """The run's report, whose verdict the gate reads."""
        words = [
            *("evaluate", *words_of(self.recipes.evaluate), self.word("run", "runs", "run"), self.word("dataset", "datasets", "dataset")),
            *(joined("baseline=", parameter("Baseline")), self.out("runs", "evaluation")),
        ]
        return self.job("Evaluate", "train", words, after=["Train"], report=self.at("runs", "verdict"))

    def package(self) -> Step:
        """The run as the folder a server loads, tested and entered in MLflow's registry."""
        words = [
            *("package", *words_of(self.recipes.package), self.word("run", "runs", "run"), self.word("evaluation", "runs", "evaluation")),
            *(f"registered_model={self.settings.registered_model}", self.out("packages", "package")),
        ]
        return self.job("Package", "train", words)

    def register(self) -> Step:
        """The package in SageMaker's registry, waiting for approval."""
        return register(
            "Register",
            group=self.places.model_group,
            image=self.places.serving_image,
            package=joined(self.at("packages", "package"), "/"),
            evaluation=self.at("runs", "evaluation", "report.json"),
            approval=parameter("Approval"),
            properties={"run": parameter("Run"), "package": self.at("packages", "package"), "training_run": self.at("runs", "run")},
            after=["Package"],
        )

    def release(self) -> Step:
        """The next Endpoint document: the package as shadow of the endpoint there is, or the first of a new one."""
        package, out = self.word("package", "packages", "package"), self.out("endpoints", "endpoint")
        if self.settings.endpoint:
            words = ["shadow", joined("endpoint=", parameter("Endpoint")), package, out]
            return self.job("Shadow", "serve", words, role="train", after=["Package"])
        index = [self.word("index", "indexes", "index")] if self.recipes.index else []
        words = ["deploy", f"name={self.settings.registered_model}", package, *index, f"capture={self.places.folders['exchanges']}", out]
        return self.job("Deploy", "serve", words, role="train", after=["Package"])

    def job(self, name: str, service: str, words: list[Value], *, role: str = "", max_runtime_s: int = 14_400, **more: Any) -> Step:
        """A step that runs a service's command; what writes documents of the models bucket takes the role of `train`."""
        loads_model = service == "train"
        return processing(
            name,
            self.place,
            image=self.image(service),
            command=f"llmops-{service}",
            words=words,
            role=role or service,
            instance_type=self.settings.evaluate_instance_type if loads_model else self.settings.preprocess_instance_type,
            max_runtime_s=max_runtime_s,
            **more,
        )

    def image(self, service: str) -> Value:
        """The image of a service."""
        return joined(self.places.repositories[service], ":", parameter("ImageTag"))

    def at(self, folder: str, *names: str) -> Value:
        """A place of this execution in S3."""
        return joined(self.places.folders[folder], parameter("Run"), *names, on="/")

    def out(self, folder: str, name: str) -> Value:
        """The word that says where a command writes."""
        return self.word("out", folder, name)

    def word(self, key: str, folder: str, name: str) -> Value:
        """The word that names a document of this execution."""
        return joined(f"{key}={self.places.folders[folder]}", parameter("Run"), name, on="/")
