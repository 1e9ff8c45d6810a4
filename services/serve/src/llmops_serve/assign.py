"""`llmops-serve arms`: the next generation of an endpoint, with arms; prompts are read from MLflow now and kept for good."""

import hashlib

from llmops_serve.arms_config import ArmsConfig, ArmSettings
from llmops_serve.history import next_generation, record
from llmops_shared.contracts import Endpoint, RetrievalIndex
from llmops_shared.contracts.endpoint import Arm, PromptVersion, Retrieval
from llmops_shared.documents import document_uri, read_document, refer, write_document
from llmops_shared.errors import LlmopsError
from llmops_shared.resume import digest_of, finished
from llmops_shared.store import folder_of
from llmops_shared.tracking import connect


def arms(config: ArmsConfig) -> Endpoint:
    """Reads an Endpoint, prompts and indexes; writes the next generation."""
    inputs = {"endpoint": digest_of(config.endpoint, Endpoint)}
    inputs |= {f"arms.{name}.index": digest_of(one.index, RetrievalIndex) for name, one in config.arms.items() if one.index is not None}
    if kept := finished(config, Endpoint, inputs):
        return kept

    place = document_uri(config.endpoint, Endpoint)
    folder = folder_of(document_uri(config.out, Endpoint))
    before = read_document(place, Endpoint)
    after = next_generation(before, place, folder, f"arms {', '.join(config.arms)}" if config.arms else "no arms any more")
    found = [arm_of(name, one, after, folder, config) for name, one in config.arms.items()]
    try:
        endpoint = Endpoint.model_validate({**after.model_dump(), "arms": [arm.model_dump() for arm in found]})
    except ValueError as error:
        raise LlmopsError(f"{place}: cannot have these arms: {error}") from error
    record(config.tracking, endpoint, {})
    write_document(config.out, endpoint)
    return endpoint


def arm_of(name: str, settings: ArmSettings, endpoint: Endpoint, folder: str, config: ArmsConfig) -> Arm:
    """An arm as the document has it. Raises LlmopsError when its prompt or index cannot be read."""
    retrieval = None
    if settings.index is not None or settings.retrieval is not None:
        if settings.index is None and endpoint.retrieval is None:
            raise LlmopsError(f"arms.{name}.retrieval: endpoint {endpoint.name} has no index; give arms.{name}.index=")
        reference = refer(settings.index, RetrievalIndex, folder) if settings.index is not None else None
        how = settings.retrieval.model_dump() if settings.retrieval else {}
        base = endpoint.retrieval.model_dump() if endpoint.retrieval and not settings.retrieval else {}
        index = reference.model_dump() if reference else (endpoint.retrieval.index.model_dump() if endpoint.retrieval else {})
        retrieval = Retrieval.model_validate({**base, **how, "index": index})
    prompt = None if settings.prompt is None else registered_prompt(settings.prompt, config)
    try:
        return Arm(name=name, weight=settings.weight, variant=settings.variant, prompt=prompt, retrieval=retrieval)
    except ValueError as error:
        raise LlmopsError(f"arms.{name}: {error}") from error


def registered_prompt(uri: str, config: ArmsConfig) -> PromptVersion:
    """A version of a prompt. Raises LlmopsError when MLflow has none, or one that is not a text."""
    if config.tracking.uri is None:
        raise LlmopsError(f"{uri}: needs MLflow; set tracking.uri or MLFLOW_TRACKING_URI")
    from mlflow.exceptions import MlflowException

    name, number = uri.removeprefix("prompts:/").split("/")
    why = "no such version"
    try:
        version = connect(config.tracking.uri).get_prompt_version(name, number)
    except MlflowException as error:
        version, why = None, error.message
    if version is None:
        raise LlmopsError(f"{uri}: is not in {config.tracking.uri} ({why}); register it with mlflow.genai.register_prompt")
    text = version.template
    if not isinstance(text, str):
        raise LlmopsError(f"{uri}: is a list of messages; an arm's prompt is one text, with {{{{question}}}} where the question goes")
    try:
        return PromptVersion(uri=uri, sha256=hashlib.sha256(text.encode()).hexdigest(), text=text)
    except ValueError as error:
        raise LlmopsError(str(error)) from error
