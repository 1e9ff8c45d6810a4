"""Serving: the endpoint that an Endpoint document asks for. Changes with every release, holds no data."""

from pathlib import Path

from constructs import Construct

from llmops_infra.config import Environment
from llmops_infra.stack import Stack
from llmops_shared.contracts.endpoint import Endpoint


class ServingStack(Stack):
    """Models, endpoint configuration, endpoint, autoscaling and alarms; nothing at all without a document."""

    def __init__(self, scope: Construct, *, environment: Environment, endpoint: Endpoint | None, out: Path) -> None:
        super().__init__(scope, "serving", environment=environment, out=out)
