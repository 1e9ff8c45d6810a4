"""`llmops-serve`: Endpoint documents, the server that realizes one, and traffic for it."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmops_serve.arms_config import ArmsConfig, KeyConfig
from llmops_serve.config import ReplayConfig, RunConfig
from llmops_serve.document_config import (
    DeployConfig,
    PromoteConfig,
    ReindexConfig,
    RenderConfig,
    RollbackConfig,
    ShadowConfig,
    SplitConfig,
    StatusConfig,
)
from llmops_serve.idle_config import IdleConfig
from llmops_shared.command import Verb, run_command

if TYPE_CHECKING:
    from llmops_shared.contracts import Endpoint, Report


def deploy(config: DeployConfig) -> "Endpoint":
    from llmops_serve.deploy import deploy

    return deploy(config)


def shadow(config: ShadowConfig) -> "Endpoint":
    from llmops_serve.deploy import shadow

    return shadow(config)


def split(config: SplitConfig) -> "Endpoint":
    from llmops_serve.split import split

    return split(config)


def reindex(config: ReindexConfig) -> "Endpoint":
    from llmops_serve.reindex import reindex

    return reindex(config)


def arms(config: ArmsConfig) -> "Endpoint":
    from llmops_serve.assign import arms

    return arms(config)


def key(config: KeyConfig) -> None:
    from llmops_serve.key import key

    print(key(config))


def promote(config: PromoteConfig) -> "Endpoint":
    from llmops_serve.promote import promote

    return promote(config)


def rollback(config: RollbackConfig) -> "Endpoint":
    from llmops_serve.rollback import rollback

    return rollback(config)


def render(config: RenderConfig) -> None:
    from llmops_serve.render import render

    sys.stdout.write(render(config))


def status(config: StatusConfig) -> "Report":
    from llmops_serve.status import status

    return status(config)


def rehearse_status(config: StatusConfig) -> dict[str, Any]:
    from llmops_serve.status import rehearse

    return rehearse(config)


def run(config: RunConfig) -> None:
    from llmops_serve.server import run

    run(config)


def replay(config: ReplayConfig) -> "Report":
    from llmops_serve.replay import replay

    return replay(config)


def idle(config: IdleConfig) -> "Report":
    from llmops_serve.idle import idle

    return idle(config)


def rehearse_idle(config: IdleConfig) -> dict[str, Any]:
    from llmops_serve.idle import rehearse

    return rehearse(config)


VERBS: list[Verb[Any]] = [
    Verb("deploy", "write the first Endpoint document: one production variant", DeployConfig, deploy),
    Verb("shadow", "write the next Endpoint document: a second package gets a copy of the traffic", ShadowConfig, shadow),
    Verb("split", "write the next Endpoint document: two packages share the live traffic", SplitConfig, split),
    Verb("reindex", "write the next Endpoint document: another index, or another way to search it", ReindexConfig, reindex),
    Verb(
        "promote",
        "write the next Endpoint document: what was on trial goes live if its Report says so, or exit 3",
        PromoteConfig,
        promote,
    ),
    Verb("rollback", "write the next Endpoint document: an earlier generation's packages go live again", RollbackConfig, rollback),
    Verb("render", "show exactly what a serving container would get", RenderConfig, render, subject="endpoint"),
    Verb(
        "status",
        "compare what runs with an Endpoint document, exit 3 when they differ",
        StatusConfig,
        status,
        refuses=lambda report: report.verdict == "fail",
        rehearse=rehearse_status,
        subject="endpoint",
    ),
    Verb("arms", "write the next Endpoint document: an A/B test of prompts, retrieval and variants", ArmsConfig, arms),
    Verb("key", "make an API key, show it once and keep its digest", KeyConfig, key),
    Verb("run", "serve an Endpoint document over HTTP until SIGTERM", RunConfig, run),
    Verb("idle", "list SageMaker endpoints nobody asks, with their cost; --yes stops them", IdleConfig, idle, rehearse=rehearse_idle),
    Verb("replay", "send the prompts of datasets, or a recording of traffic, to an endpoint and write a Report", ReplayConfig, replay),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb and returns the exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would compete with the models'
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["idle"]:
        words = ["yes=true" if word == "--yes" else word for word in words]
    return run_command("llmops-serve", "Endpoints: documents, server, traffic.", VERBS, as_settings(words, "--engine"))


def as_settings(words: Sequence[str], option: str) -> list[str]:
    """`--engine tgi` as the setting `engine=tgi`, for it is what people type."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == option:
            found[-1] = f"{option.removeprefix('--')}={word}"
        else:
            found.append(word.removeprefix("--") if word.startswith(f"{option}=") else word)
    return found


if __name__ == "__main__":
    sys.exit(main())
