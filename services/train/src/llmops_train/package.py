"""`llmops-train package`: the folder a server loads, tested before its document is written."""

import hashlib
import logging
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from llmops_shared.contracts import DatasetManifest, ModelPackage, Part, Report, TrainingRun
from llmops_shared.documents import document_uri, follow, read_document, refer, store_part, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of
from llmops_shared.tracking import tracked
from llmops_train.config import PackageConfig
from llmops_train.methods.kinds import has_adapter, is_mergeable
from llmops_train.source import open_run

logger = logging.getLogger(__name__)


def package(config: PackageConfig) -> ModelPackage:
    """Packages a run; a finished package is kept."""
    place = document_uri(config.run, TrainingRun)
    run = read_document(place, TrainingRun)
    inputs = {"run": digest_of(place, TrainingRun)}
    if config.evaluation is not None:
        inputs["evaluation"] = digest_of(config.evaluation, Report)
        check_evaluation(config.evaluation, inputs["run"])
    kept = finished(config, ModelPackage, inputs)
    if kept is not None:
        return kept
    check_registry(config)

    from llmops_train.acceptance import accept, check_change, prompts_of  # these load torch, which a kept package need not
    from llmops_train.layout import facts_of, lay_out

    files = open_run(place, run)
    mergeable = all(map(is_mergeable, files.adapters))
    check_layout(config, place, run, mergeable)
    prompts = prompts_of(*follow(run.dataset, folder_of(place), DatasetManifest), config.acceptance_prompts)
    if files.adapters:
        check_change(files, prompts, place)
    name = config.registered_model or run.name
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        packaged = lay_out(files, config.layout, folder)
        accept(files, packaged, prompts, config.acceptance_tokens)
        facts = facts_of(packaged)
        stored = [store_part(config.out, str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]
    with tracked(config.tracking, "package", f"{name}-package") as tracking:
        tracking.parameters(
            {
                "layout": config.layout,
                "method": run.method,
                "mergeable": mergeable,
                "num_parameters": facts.num_parameters,
                "run_sha256": inputs["run"][:12],
            }
        )
        tags = {"weights_sha256": weights_digest(stored), "run_sha256": inputs["run"], "method": run.method}
        registered = None
        if config.registered_model is not None:
            registered = tracking.register(config.registered_model, absolute(config.out), tags, "challenger")
        document = ModelPackage(
            name=name,
            run=refer(place, TrainingRun, config.out),
            evaluation=refer(config.evaluation, Report, config.out) if config.evaluation else None,
            layout=config.layout,
            mergeable=mergeable,
            files=stored,
            architecture=facts.architecture,
            num_parameters=facts.num_parameters,
            max_context_tokens=facts.max_context_tokens,
            dtype=facts.dtype,
            registered_model=registered,
        )
    write_document(config.out, document)
    return document


def check_layout(config: PackageConfig, place: str, run: TrainingRun, mergeable: bool) -> None:
    """Raises LlmopsError for a layout the run does not have."""
    if config.layout == "adapter" and not has_adapter(run):
        raise LlmopsError(f"{place}: method {run.method} makes no adapter; use layout=merged")
    if config.layout == "merged" and not mergeable:
        raise LlmopsError(
            f"{place}: an adapter of method {run.method} stands in front of the model or inside its attention and cannot be merged into "
            f"weights; use layout=adapter"
        )


def check_registry(config: PackageConfig) -> None:
    """Raises LlmopsError for a registration without a registry."""
    if config.registered_model is not None and config.tracking.uri is None:
        raise LlmopsError(
            f"registered_model {config.registered_model}: there is no registry to enter it in; set tracking.uri or MLFLOW_TRACKING_URI"
        )


def check_evaluation(uri: str, run_sha256: str) -> None:
    """Raises LlmopsError when the report is no evaluation of this run."""
    report = read_document(uri, Report)
    judged = report.subjects.get("run")
    if report.report != "evaluation" or judged is None or judged.sha256 != run_sha256:
        raise LlmopsError(f"evaluation {uri}: is no evaluation of this run (a report of kind {report.report}); give the one that is")


def weights_digest(parts: list[Part]) -> str:
    """Digest over names and digests of the package's files."""
    return hashlib.sha256("".join(f"{part.path} {part.sha256}\n" for part in parts).encode()).hexdigest()


def absolute(uri: str) -> str:
    """The URI as it reads from anywhere, for the registry."""
    return uri if urlsplit(uri).scheme else str(Path(uri).absolute())
