"""What is judged: a model (run, package, directory), a live endpoint, or predictions in a file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmops_shared.contracts import DatasetManifest, ModelPackage, Reference, TrainingRun
from llmops_shared.documents import follow, read_document, sha256
from llmops_shared.store import folder_of, relative, store_for
from llmops_train.evaluation.config import EndpointConfig, EvaluateConfig
from llmops_train.source import Source, identify, read_settings

ROLES = {"run": "run", "package": "package", "directory": "model"}
SHOWN = ("optimizer", "architecture", "lora", "batch_sequences", "num_epochs", "max_steps", "max_tokens")


@dataclass(frozen=True)
class Subject:
    """What is judged; nothing is loaded yet."""

    kind: Literal["model", "endpoint", "predictions"]
    role: str
    """Its key in `Report.subjects`."""
    name: str
    place: str
    """URI of the document, directory, file or endpoint."""
    sha256: str
    """Digest of the document, directory or file; of an endpoint's address and model name, for its content cannot be had."""
    parameters: dict[str, Any]
    """What MLflow's comparison page shows beside the figures."""
    trained_on: str | None
    """DatasetManifest the model learnt last; None where that is not known."""
    source: Source | None = None
    """Where the model's files are."""

    def refer(self, out: str) -> Reference:
        """The reference as written from `out`."""
        return Reference(uri=self.place if self.kind == "endpoint" else relative(self.place, out), sha256=self.sha256)


def find_subject(config: EvaluateConfig) -> Subject:
    """The subject of the config. Raises LlmopsError when it is not there."""
    if config.endpoint is not None:
        return endpoint_subject(config.endpoint)
    if config.predictions is not None:
        content = store_for(config.predictions).read(config.predictions)
        name = Path(config.predictions).stem
        return Subject("predictions", "predictions", name, config.predictions, sha256(content), {"method": "none"}, None)
    assert config.run is not None
    return model_subject(identify(config.run))


def endpoint_subject(endpoint: EndpointConfig) -> Subject:
    """An endpoint, by its address."""
    digest = hashlib.sha256(f"{endpoint.url} {endpoint.route} {endpoint.model}".encode()).hexdigest()
    parameters = {"method": "none", "endpoint": endpoint.url, "route": endpoint.route, "model": endpoint.model}
    name = endpoint.model if endpoint.model != "default" else "endpoint"
    return Subject("endpoint", "endpoint", name, endpoint.url, digest, parameters, None)


def model_subject(source: Source) -> Subject:
    """A model, with the run it came from where that is known."""
    if source.kind == "directory":
        given = {"method": "none", "model": source.given}
        return Subject("model", "model", Path(source.given).name, source.place, source.sha256, given, None, source)
    place = source.place
    if source.kind == "package":
        place, run = follow(read_document(place, ModelPackage).run, folder_of(place), TrainingRun)
    else:
        run = read_document(place, TrainingRun)
    settings = read_settings(place)
    parent = run.parent or run.base_model
    parameters: dict[str, Any] = {
        "method": run.method,
        "parent": parent.sha256[:12] if parent else "",
        "num_parameters": run.num_parameters,
        "num_trainable_parameters": run.num_trainable_parameters,
        **{key: settings[key] for key in SHOWN if settings.get(key) is not None},
    }
    trained_on, _ = follow(run.dataset, folder_of(place), DatasetManifest)
    return Subject("model", ROLES[source.kind], run.name, source.place, source.sha256, parameters, trained_on, source)
