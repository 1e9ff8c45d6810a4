"""Composes the stacks and writes them as Terraform JSON. `bindings` has to be imported before."""

from pathlib import Path

from cdktn import App

from llmops_infra.config import Environment
from llmops_infra.platform_stack import PlatformStack
from llmops_infra.serving_stack import ServingStack
from llmops_shared.contracts.endpoint import Endpoint


def write_stacks(environment: Environment, endpoint: Endpoint | None, out: Path) -> None:
    """Writes `out/stacks/{platform,serving}/cdk.tf.json`."""
    out.mkdir(parents=True, exist_ok=True)
    app = App(outdir=str(out))
    PlatformStack(app, environment=environment, out=out)
    ServingStack(app, environment=environment, endpoint=endpoint, out=out)
    app.synth()
