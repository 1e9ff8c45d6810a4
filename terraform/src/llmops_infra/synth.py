"""Synthesizes both stacks of an environment, unless nothing they depend on has changed."""

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import ConfigDict

from llmops_infra import bindings
from llmops_infra.config import Environment
from llmops_infra.endpoint_document import document_path, read_endpoint
from llmops_infra.price_list import FOLDER as USE
from llmops_infra.prices import Estimate, estimate
from llmops_shared.config import Config
from llmops_shared.errors import LlmopsError
from llmops_shared.prices.price_list import FOLDER as PRICES

logger = logging.getLogger(__name__)

STACKS = ("platform", "serving")
RECORD = "synthesis.json"


class Synthesis(Config):
    """What a synthesis wrote, and from what."""

    model_config = ConfigDict(frozen=True)

    environment: str
    """Name of the environment."""
    sha256: str
    """Of everything the stacks depend on: settings, documents, our code, the bindings."""
    stacks: dict[str, str]
    """Folder of each stack, for `terraform -chdir=`."""
    outputs: dict[str, str]
    """SHA-256 of each stack's file."""


def synth(environment: Environment, out: Path, force: bool = False) -> Synthesis:
    """Writes `out/stacks/STACK/cdk.tf.json`; kept when it is there already, made from the same, and untouched since.

    Raises LlmopsError when the settings or the Endpoint document cannot be realized.
    """
    endpoint = read_endpoint(environment)
    wanted = digest_of(environment)
    if not force and (kept := unchanged(out, wanted)):
        logger.info("%s: nothing changed, kept %s", environment.name, out)
        return kept
    refuse_above_budget(environment, estimate(environment, endpoint))
    bindings.prepare_node()
    from llmops_infra.app import write_stacks  # starts node

    (out / RECORD).unlink(missing_ok=True)
    write_stacks(environment, endpoint, out)
    folders = {stack: out / "stacks" / stack for stack in STACKS}
    synthesis = Synthesis(
        environment=environment.name,
        sha256=wanted,
        stacks={stack: str(folder) for stack, folder in folders.items()},
        outputs={stack: sha256(folder / "cdk.tf.json") for stack, folder in folders.items()},
    )
    (out / RECORD).write_text(synthesis.model_dump_json(indent=2) + "\n", encoding="utf-8")
    logger.info("%s: wrote %s", environment.name, ", ".join(synthesis.stacks.values()))
    return synthesis


def refuse_above_budget(environment: Environment, month: Estimate) -> None:
    """Raises LlmopsError when a month of ordinary work costs more than the environment may."""
    if month.total_usd <= environment.max_monthly_usd:
        return
    dearest = ", ".join(f"{part.name} {part.idle_usd + part.used_usd:.0f}" for part in month.parts[:3])
    raise LlmopsError(
        f"{environment.name}: a month would cost {month.total_usd:.0f} USD ({dearest}), and max_monthly_usd is "
        f"{environment.max_monthly_usd:g}: raise it to {math.ceil(month.total_usd)} or switch something off; "
        f"`llmops-infra prices {environment.name}` shows every part"
    )


def unchanged(out: Path, wanted: str) -> Synthesis | None:
    """The synthesis that is there, if it is the wanted one and its files are as they were written."""
    record = out / RECORD
    if not record.exists():
        return None
    found = Synthesis.model_validate_json(record.read_bytes())
    files = {stack: out / "stacks" / stack / "cdk.tf.json" for stack in STACKS}
    intact = all(path.exists() and sha256(path) == found.outputs.get(stack) for stack, path in files.items())
    return found if intact and found.sha256 == wanted else None


def digest_of(environment: Environment) -> str:
    """SHA-256 over all that the stacks are made from."""
    digest = hashlib.sha256(json.dumps([environment.model_dump(mode="json"), bindings.installed()], sort_keys=True).encode())
    for path in sources(environment):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def sources(environment: Environment) -> Iterator[Path]:
    """The files a synthesis reads: our code, the prices, the document."""
    for folder in (Path(__file__).parent, PRICES, USE):
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    if document := document_path(environment):
        yield document


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
