"""MLflow, as every job uses it: one run a job, with parameters, metrics, dataset inputs, artifacts and the registry."""

import json
import logging
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmops_shared import comparison
from llmops_shared.config import Tracking
from llmops_shared.contracts import DatasetManifest
from llmops_shared.contracts.package import RegisteredModel
from llmops_shared.errors import LlmopsError, Stopped
from llmops_shared.outbox import Outbox

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


class Run(Protocol):
    """One tracked job."""

    run_id: str | None
    """MLflow's id of it; None when nothing is tracked."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Records settings; nested mappings become dotted names."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Records figures at a step."""

    def dataset(self, manifest: DatasetManifest, uri: str, digest: str, context: str) -> None:
        """Records a dataset as input of the run; `context` says what for: `training`, `evaluation`, `reference`."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keeps a file with the run."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Keeps a table that MLflow shows run beside run; it replaces an earlier one of that name."""

    def nested(self, name: str, values: Mapping[str, float]) -> None:
        """Records figures as a run of its own below this one, which charts then show beside other runs."""

    def register(self, model: str, source: str, tags: Mapping[str, str], alias: str) -> RegisteredModel | None:
        """Adds a version to the model registry and points the alias at it."""


@contextmanager
def tracked(tracking: Tracking, stage: str, name: str, began: float | None = None) -> Iterator[Run]:
    """Opens a run named `name` with the tag `llmops.stage`; it ends as FINISHED, as KILLED when the job was stopped,
    or as FAILED when the body raises anything else.

    `began` is when the job started, in seconds of `time.time`, for a job that opens its run when the work is done.
    """
    if tracking.uri is None:
        logger.info("not tracked in MLflow (tracking.uri or MLFLOW_TRACKING_URI would say where)")
        yield Untracked()
        return
    client = connect(tracking.uri)
    start_time = None if began is None else int(began * 1000)
    experiment = experiment_id(client, tracking)
    parent = pipeline_run(client, experiment, tracking.pipeline) if tracking.pipeline else None
    tags = {"llmops.stage": stage} | ({"mlflow.parentRunId": parent} if parent else {})
    run = client.create_run(experiment, start_time=start_time, tags=tags, run_name=name)
    run_id: str = run.info.run_id
    ended = "FAILED"
    outbox = Outbox(f"MLflow at {tracking.uri}", is_passing)
    try:
        yield MlflowRun(client, run_id, experiment, outbox)
        ended = "FINISHED"
    except (Stopped, KeyboardInterrupt):
        ended = "KILLED"
        raise
    finally:
        over = int(time.time() * 1000)
        for one in (run_id, parent):  # a pipeline's run is over, as far as anybody knows, when its last stage is
            if one:
                outbox.put(partial(client.set_terminated, one, ended, over))
        if ended == "FINISHED":
            outbox.close()
        else:
            outbox.abandon()


def pipeline_run(client: "MlflowClient", experiment: str, name: str) -> str:
    """The run that the stages of a pipeline's run nest below: the one of that name, made by the first stage."""
    found = client.search_runs([experiment], f"tags.`llmops.pipeline_run` = '{name}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {"llmops.stage": "pipeline", "llmops.pipeline_run": name}
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)


def connect(uri: str) -> "MlflowClient":
    """A client. Its import takes two seconds, so it happens only when a run is opened."""
    from mlflow import MlflowClient, set_tracking_uri
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES
    from mlflow.exceptions import MlflowException

    database = database_of(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)  # the outbox tries again, and sooner than after MLflow's minutes
    for chatty in ("mlflow.store.db.utils", "alembic"):  # one line per table of a fresh database
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for chatty in ("mlflow.tracking.request_header.registry", "urllib3.connectionpool"):  # a line a request; the outbox says it once
        logging.getLogger(chatty).setLevel(logging.ERROR)
    if uri.startswith("arn:"):
        set_tracking_uri(uri)  # sagemaker-mlflow signs requests for the process's server, whatever the client's is
    try:
        return MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        raise LlmopsError(f"tracking.uri {uri}: MLflow cannot use it ({error})") from error


def is_passing(error: Exception) -> bool:
    """Whether MLflow may take the same call later: it is away, overloaded, or its database is busy."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
    return isinstance(error, OSError)  # requests' and urllib3's errors are OSErrors, too


def experiment_id(client: "MlflowClient", tracking: Tracking) -> str:
    """The experiment's id, made when missing; artifacts of a local database go beside it."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_experiment_by_name(tracking.experiment)
        if found is None:
            tags = {comparison.TAG: comparison.view()}
            return str(client.create_experiment(tracking.experiment, artifact_location=artifact_location(tracking), tags=tags))
    except MlflowException as error:
        raise LlmopsError(f"tracking.uri {tracking.uri}: MLflow does not answer ({error.message})") from error
    if found.lifecycle_stage != "active":
        raise LlmopsError(f"tracking.experiment {tracking.experiment}: was deleted in MLflow; restore it or choose another name")
    if comparison.TAG not in found.tags:
        client.set_experiment_tag(found.experiment_id, comparison.TAG, comparison.view())
    return str(found.experiment_id)


def artifact_location(tracking: Tracking) -> str | None:
    """Beside the database file for sqlite, where MLflow would use the working directory; else the server's own choice."""
    database = database_of(tracking.uri or "")
    return None if database is None else (database.absolute().parent / "mlflow-artifacts" / tracking.experiment).as_uri()


def database_of(uri: str) -> Path | None:
    """The file of a `sqlite:///` tracking URI; None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


class Untracked:
    """Tracks nothing: no tracking URI was given."""

    run_id: str | None = None

    def parameters(self, values: Mapping[str, Any]) -> None:
        return None

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        return None

    def dataset(self, manifest: DatasetManifest, uri: str, digest: str, context: str) -> None:
        return None

    def artifact(self, path: Path, folder: str = "") -> None:
        return None

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        return None

    def nested(self, name: str, values: Mapping[str, float]) -> None:
        return None

    def register(self, model: str, source: str, tags: Mapping[str, str], alias: str) -> RegisteredModel | None:
        return None


class MlflowRun:
    """A run in MLflow. All but `register` is recorded beside the work, in order, and waits out a server that is away.

    Whatever is sent twice is recorded once: points of curves have their time from here, parameters do not change, files are replaced.
    """

    def __init__(self, client: "MlflowClient", run_id: str, experiment: str, outbox: Outbox) -> None:
        self.client = client
        self.experiment = experiment
        self.run_id: str | None = run_id
        self._id = run_id
        self._outbox = outbox
        self._tables: list[str] = []

    def parameters(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = [Param(metric_name(key), str(value)[:6000]) for key, value in flatten(values)]  # MLflow's limit for a value
        for start in range(0, len(flat), 100):  # and for the parameters in one request
            self._outbox.put(partial(self.client.log_batch, self._id, params=flat[start : start + 100]))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(metric_name(key), value, now, step) for key, value in values.items()]
        self._outbox.put(partial(self.client.log_batch, self._id, metrics=points))

    def dataset(self, manifest: DatasetManifest, uri: str, digest: str, context: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": uri})
        profile = json.dumps({name: {"rows": s.num_rows, "tokens": s.num_tokens} for name, s in manifest.splits.items()})
        # MLflow keeps 36 characters of a digest
        entity = Dataset(name=manifest.name, digest=digest[:36], source_type="llmops", source=source, profile=profile)
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", context)])]
        self._outbox.put(partial(self.client.log_inputs, self._id, inputs))

    def artifact(self, path: Path, folder: str = "") -> None:
        self._keep(path.name, path.read_bytes(), folder)  # the caller's file may be gone when it is sent

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._keep(f"{name}.json", json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}).encode(), "")
        if name not in self._tables:
            self._tables.append(name)
            shown = json.dumps([{"path": f"{table}.json", "type": "table"} for table in self._tables])
            self._outbox.put(partial(self.client.set_tag, self._id, "mlflow.loggedArtifacts", shown))

    def _keep(self, name: str, content: bytes, folder: str) -> None:
        def send() -> None:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / name
                path.write_bytes(content)
                self.client.log_artifact(self._id, str(path), folder or None)

        self._outbox.put(send)

    def nested(self, name: str, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(metric_name(key), value, now, 0) for key, value in values.items()]
        tags = {"llmops.stage": "arm", "mlflow.parentRunId": self._id}

        def send() -> None:
            known = self.client.search_runs([self.experiment], f"tags.`mlflow.parentRunId` = '{self._id}'")
            same = [run.info.run_id for run in known if run.info.run_name == name]
            arm = same[0] if same else self.client.create_run(self.experiment, start_time=now, tags=tags, run_name=name).info.run_id
            self.client.log_batch(arm, metrics=points)
            self.client.set_terminated(arm, end_time=now)

        self._outbox.put(send)

    def register(self, model: str, source: str, tags: Mapping[str, str], alias: str) -> RegisteredModel | None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self.client.create_model_version(model, source=source, run_id=self._id, tags=dict(tags))
        self.client.set_registered_model_alias(model, alias, version.version)
        return RegisteredModel(name=model, version=str(version.version))


def point_alias(tracking: Tracking, registered: RegisteredModel, alias: str) -> None:
    """Points an alias of the registry (`champion`, `challenger`) at a version. Raises LlmopsError when there is no such version."""
    if tracking.uri is None:
        return
    from mlflow.exceptions import MlflowException

    try:
        connect(tracking.uri).set_registered_model_alias(registered.name, alias, registered.version)
    except MlflowException as error:
        raise LlmopsError(
            f"tracking.uri {tracking.uri}: cannot point {alias} at version {registered.version} of {registered.name} ({error.message}); "
            f"name the MLflow the package was registered in"
        ) from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def metric_name(text: str) -> str:
    """The name with what MLflow refuses replaced."""
    return re.sub(r"[^\w\-. :/]", "_", text)
