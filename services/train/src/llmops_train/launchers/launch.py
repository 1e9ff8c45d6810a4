"""Starts a run by the launcher of its config."""

from typing import Any

from llmops_shared.contracts import TrainingRun
from llmops_train.config import TrainConfig
from llmops_train.launch_config import LaunchConfig


def launch(config: TrainConfig, launch: LaunchConfig, options: list[str]) -> TrainingRun | None:
    """Runs it and returns its document; None where there is none here. `options` are the command's own, such as `--log-json`."""
    match launch.launcher:
        case "local":
            from llmops_train.launchers.local import launch as start

            return start(config, launch, options)
        case "sagemaker":
            from llmops_train.launchers.sagemaker import launch as submit

            return submit(config, launch)


def rehearse(config: TrainConfig, launch: LaunchConfig) -> dict[str, Any]:
    """What would be started, without starting it; for SageMaker the exact request."""
    match launch.launcher:
        case "local":
            from llmops_train.launchers.local import rehearse as start

            return start(config, launch)
        case "sagemaker":
            from llmops_train.launchers.sagemaker import rehearse as submit

            return submit(config, launch)
