"""Command configuration: a frozen pydantic model per command, filled from YAML and `key.sub=value` words."""

import functools
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmops_shared.errors import LlmopsError


class Config(BaseModel):
    """The base of every config: frozen, unknown keys refused, a docstring under each field is its help text."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        defer_build=True,
        coerce_numbers_to_str=True,  # a name may be written 2026
    )


class Tracking(Config):
    """Where a job records itself in MLflow."""

    uri: str | None = Field(default=None)
    """MLflow tracking URI (`sqlite:///mlflow.db`, `http://...`, a SageMaker ARN); MLFLOW_TRACKING_URI fills it; none: not tracked."""
    experiment: str = Field(default="llmops", min_length=1)
    """MLflow experiment; MLFLOW_EXPERIMENT_NAME fills it."""
    pipeline: str | None = Field(default=None, pattern=r"^[\w.:/-]+$")
    """Run of a pipeline that this job is a stage of; its MLflow run nests below the one of that name; LLMOPS_PIPELINE_RUN fills it."""


class JobConfig(Config):
    """What every job that writes a document has."""

    out: str = Field(min_length=1)
    """Folder to write to, local or `s3://`; a finished document there is kept when nothing changed."""
    tracking: Tracking = Field(default=Tracking())
    """MLflow."""


C = TypeVar("C", bound=Config)
Tree = dict[str, Any]


def load_config(model: type[C], path: str | None, words: list[str], defaults: Tree | None = None) -> C:
    """Fills `model` from defaults, then a YAML file, then `key.sub=value` words; a later one wins.

    Raises LlmopsError that names every bad field at once.
    """
    tree = merge(merge(defaults or {}, read_yaml(path) if path else {}), parse_words(words))
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise LlmopsError(describe_errors(error, model, path)) from error


def read_yaml(path: str) -> Tree:
    """Reads a YAML mapping. Raises LlmopsError when the file is missing, broken, or not a mapping."""
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LlmopsError(f"--config {path}: cannot be read ({error}); name an existing YAML file") from error
    try:
        tree = load_yaml(text)
    except yaml.YAMLError as error:
        raise LlmopsError(f"--config {path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise LlmopsError(f"--config {path}: must hold `key: value` lines, found a {type(tree).__name__}")
    return tree


def parse_words(words: list[str]) -> Tree:
    """Turns `a.b=1 c=x` into `{"a": {"b": 1}, "c": "x"}`; values are read as YAML, so `[1, 2]`, `true` and `null` work."""
    import yaml

    tree: Tree = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise LlmopsError(f"{word!r}: settings are written key=value, for example `seed=7` or `data.split=test`")
        try:
            value = load_yaml(text)
        except yaml.YAMLError:
            value = text  # a plain string with YAML's own signs in it, such as a prompt
        for name in reversed(key.split(".")):
            value = {name: value}
        tree = merge(tree, value)
    return tree


def load_yaml(text: str) -> Any:
    """A YAML value, but that 2026-11-25 stays text: no setting is a date that is more than its text, and names often look like one."""
    import yaml

    return yaml.load(text, loader())


@functools.cache
def loader() -> Any:
    """YAML's SafeLoader without dates."""
    import yaml

    known = yaml.SafeLoader.yaml_implicit_resolvers
    dateless = {first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"] for first, resolvers in known.items()}
    return type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": dateless})


def merge(below: Tree, above: Tree) -> Tree:
    """Lays one tree over another; only mappings merge, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def describe_errors(error: ValidationError, model: type[BaseModel], path: str | None) -> str:
    """One line per bad field: its key, what is wrong, the value given, and the near names for an unknown key."""
    import difflib

    lines = [f"{path or 'settings'}: {error.error_count()} bad setting{'s' if error.error_count() > 1 else ''}"]
    for item in error.errors():
        key = ".".join(str(name) for name in item["loc"])
        match item["type"]:
            case "extra_forbidden":
                near = difflib.get_close_matches(str(item["loc"][-1]), known_keys(model), n=1, cutoff=0.6)
                hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known_keys(model))}"
                lines.append(f"  {key}: unknown key{hint}")
            case "missing":
                lines.append(f"  {key}: required, but not given; add `{key}: ...` to the file or `{key}=...` to the command")
            case _:
                given = f" (got {item['input']!r})" if item["loc"] else ""
                lines.append(f"  {key or 'settings'}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "\n".join(lines)


def known_keys(model: type[BaseModel]) -> list[str]:
    """All keys of a config, nested ones by their last name too."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        for nested in nested_models(field.annotation):
            names.extend(known_keys(nested))
    return list(dict.fromkeys(names))


def nested_models(annotation: Any) -> list[type[BaseModel]]:
    """The config models named in a type annotation (`X`, `X | None`, `list[X]`)."""
    from typing import get_args

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in nested_models(inner)]
