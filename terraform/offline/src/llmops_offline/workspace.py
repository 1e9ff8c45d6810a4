"""A private working folder for each configuration, so that nothing real is touched.

The folder links to the configuration's files and adds an override that puts the
state into the folder, whatever backend the configuration names. The
configuration's own folder, its lock file and its state are left as they are.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmops_offline import cache

logger = logging.getLogger(__name__)

_OVERRIDE = "zz_offline_terraform_override.tf.json"
_STATE = "terraform.tfstate"
# What Terraform itself keeps in a working folder.
_KEPT = {".terraform", ".terraform.lock.hcl", ".terraform.tfstate.lock.info", "terraform.tfstate.d"}
_IDENTIFYING = ("bucket", "key", "path", "prefix", "container_name", "workspace_key_prefix")


def folder(directory: Path) -> Path:
    real = directory.resolve()
    digest = hashlib.sha256(str(real).encode()).hexdigest()[:10]
    return cache.folder() / "work" / f"{real.name}-{digest}"


def forget(directory: Path) -> None:
    shutil.rmtree(folder(directory), ignore_errors=True)


def prepare(directory: Path) -> Path:
    work = folder(directory)
    work.mkdir(parents=True, exist_ok=True)
    for entry in work.iterdir():
        if entry.is_symlink() or entry.name.endswith((".tf", ".tf.json")):
            entry.unlink()
    for entry in directory.resolve().iterdir():
        if entry.name in _KEPT or ".tfstate" in entry.name:
            continue
        rewritten = _with_local_remote_states(entry) if entry.name.endswith(".tf.json") else None
        if rewritten is None:
            (work / entry.name).symlink_to(entry)
        else:
            (work / entry.name).write_text(json.dumps(rewritten, indent=2))
    backend = {"terraform": {"backend": {"local": {"path": _STATE}}}}
    (work / _OVERRIDE).write_text(json.dumps(backend, indent=2))
    return work


def provider_pins(directory: Path) -> Iterator[str]:
    """The versions of the AWS provider that a JSON configuration pins."""
    for document in _documents(directory):
        for settings in _listed(document.get("terraform")):
            for providers in _listed(settings.get("required_providers")):
                aws = providers.get("aws")
                if isinstance(aws, dict) and isinstance(aws.get("version"), str):
                    yield aws["version"]


def _with_local_remote_states(file: Path) -> Any:
    """The document with references to other stacks' states led to their simulated states."""
    text = file.read_text()
    if "terraform_remote_state" not in text:
        return None
    document = json.loads(text)
    for sources in _listed(document.get("data")):
        for name, source in sources.get("terraform_remote_state", {}).items():
            stack = _stack_behind(file.parent, source.get("backend"), source.get("config") or {})
            if stack is None:
                logger.warning("remote state %s is no neighbouring stack's", name)
                continue
            source["backend"] = "local"
            source["config"] = {"path": str(folder(stack) / _STATE)}
            source.pop("workspace", None)
    return document


def _stack_behind(directory: Path, kind: Any, config: dict[str, Any]) -> Path | None:
    """The neighbouring stack whose backend keeps this state."""
    for stack in sorted(directory.resolve().parent.iterdir()):
        if not stack.is_dir() or stack == directory.resolve():
            continue
        for document in _documents(stack):
            for settings in _listed(document.get("terraform")):
                own = (settings.get("backend") or {}).get(kind)
                if own is not None and all(_agree(own.get(key), config.get(key)) for key in _IDENTIFYING):
                    return stack
    return None


def _agree(own: Any, other: Any) -> bool:
    """Whether two settings may be the same place: one may be left to `terraform init`, or be worked out by Terraform."""
    open_ended = any(value in (None, "") or "${" in value for value in (own, other))
    return own == other or open_ended


def _documents(directory: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(directory.glob("*.tf.json")):
        try:
            document = json.loads(file.read_text())
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
