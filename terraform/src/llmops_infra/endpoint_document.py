"""Reads the Endpoint document an environment names, and finds its packages in S3."""

import posixpath
from pathlib import Path

from pydantic import ValidationError

from llmops_infra.config import Environment
from llmops_infra.containers import serving_container
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Endpoint, Variant
from llmops_shared.errors import LlmopsError


def document_path(environment: Environment) -> Path | None:
    """The file of the document; None where the environment has no endpoint."""
    if environment.serving.endpoint is None:
        return None
    path = Path(environment.serving.endpoint)
    return path if path.suffix == ".json" else path / Endpoint.file_name


def read_endpoint(environment: Environment) -> Endpoint | None:
    """The document, checked against what SageMaker can realize. Raises LlmopsError that names every obstacle at once."""
    path = document_path(environment)
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LlmopsError(f"serving.endpoint {path}: cannot be read ({error}); name an Endpoint document or leave it out") from error
    if not content.strip():
        return None  # an empty document asks for no endpoint
    try:
        endpoint = Endpoint.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(name) for name in first["loc"]) or "the document"
        raise LlmopsError(f"serving.endpoint {path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    problems = [
        *package_problems(environment, endpoint),
        *variant_problems(environment, endpoint),
        *container_problems(environment, endpoint),
    ]
    if problems:
        raise LlmopsError("\n".join([f"serving.endpoint {path}: SageMaker cannot realize it", *(f"  {problem}" for problem in problems)]))
    return endpoint


def package_folder(environment: Environment, variant: Variant) -> str:
    """s3:// URI of the folder with the variant's package."""
    return folder_of_package(environment, variant.package)


def folder_of_package(environment: Environment, package: Reference) -> str:
    """s3:// URI of the folder with a package."""
    return posixpath.dirname(resolve(environment.serving.endpoint_uri, package.uri))


def resolve(base: str | None, uri: str) -> str:
    """A reference as an s3:// URI: as it is, or seen from the folder the document is in."""
    if uri.startswith("s3://") or base is None:
        return uri
    folder = posixpath.dirname(base) if base.endswith(".json") else base.rstrip("/")
    bucket, _, key = folder.removeprefix("s3://").partition("/")
    return f"s3://{bucket}/{posixpath.normpath(posixpath.join(key, uri))}"


def package_problems(environment: Environment, endpoint: Endpoint) -> list[str]:
    """Packages that are not in S3."""
    base = environment.serving.endpoint_uri
    named = [
        (variant, package) for variant in endpoint.variants for package in (variant.package, *(one.package for one in variant.adapters))
    ]
    return [
        f"variant {variant.name}: package {package.uri} is not in S3; write it with out=s3://... and deploy that, "
        "or set serving.endpoint_uri to where the document is"
        for variant, package in named
        if not resolve(base, package.uri).startswith("s3://")
    ]


def variant_problems(environment: Environment, endpoint: Endpoint) -> list[str]:
    """Hosting settings for variants that do not exist."""
    names = [variant.name for variant in endpoint.variants]
    return [
        f"serving.variants.{name}: the document has no such variant (it has {', '.join(names)})"
        for name in environment.serving.variants
        if name not in names
    ]


def container_problems(environment: Environment, endpoint: Endpoint) -> list[str]:
    """Variants whose package, engine and instance do not go together."""
    problems = []
    for variant in endpoint.variants:
        hosting = environment.serving.variants.get(variant.name, environment.serving.hosting)
        try:
            serving_container(hosting, variant)
        except LlmopsError as error:
            problems.append(str(error))
    return problems
