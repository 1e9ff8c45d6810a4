"""`llmops-serve`: Endpoint documents, the server that realizes one, and traffic for it."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmops_serve.config import DeployConfig, PromoteConfig, ReplayConfig, RunConfig, ShadowConfig
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


def promote(config: PromoteConfig) -> "Endpoint":
    from llmops_serve.promote import promote

    return promote(config)


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
    Verb("promote", "write the next Endpoint document: the shadow goes live if its Report says so, else exit 3", PromoteConfig, promote),
    Verb("run", "serve an Endpoint document over HTTP until SIGTERM", RunConfig, run),
    Verb("idle", "list SageMaker endpoints nobody asks, with their cost; --yes stops them", IdleConfig, idle, rehearse=rehearse_idle),
    Verb("replay", "send the prompts of datasets to an endpoint and write a Report", ReplayConfig, replay),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb and returns the exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would compete with the models'
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["idle"]:
        words = ["yes=true" if word == "--yes" else word for word in words]
    return run_command("llmops-serve", "Endpoints: documents, server, traffic.", VERBS, words)


if __name__ == "__main__":
    sys.exit(main())
