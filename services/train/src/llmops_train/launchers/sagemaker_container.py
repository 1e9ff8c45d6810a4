"""What the container of a training job gets: variables, settings, and in script mode the code and what starts it."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_shared.errors import LlmopsError
from llmops_shared.store import join
from llmops_train.container_config import InContainer
from llmops_train.launchers.sagemaker_channels import CHANNEL, channel_kind
from llmops_train.launchers.sagemaker_job import Job

MAX_HYPERPARAMETERS, MAX_VALUE = 100, 2500  # of CreateTrainingJob

START = """import sys

from llmops_train.cli import main

sys.exit(main(["train"]))
"""


def environment(job: Job) -> dict[str, str]:
    """The container's variables."""
    own = {"AWS_DEFAULT_REGION": job.platform.region, "MLFLOW_TRACKING_URI": job.config.tracking.uri or job.platform.tracking_uri}
    own["MLFLOW_EXPERIMENT_NAME"] = job.config.tracking.experiment
    if job.num_training > 1:
        own |= {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET"}  # what `doctor` reads: which network NCCL really took
    return own | job.settings.environment


def hyperparameters(job: Job) -> dict[str, str]:
    """The run's settings and what the container has to know, as `key.sub: JSON`. Raises LlmopsError when SageMaker would not take them."""
    config = job.config
    if job.num_training > 1 and config.checkpoint_uri is None:  # each host's /opt/ml/checkpoints is its own
        config = config.model_copy(update={"checkpoint_uri": checkpoints(job)})
    tree = config.model_dump(mode="json", exclude_defaults=True, exclude={"launch", "tracking"})
    required = job.settings.require_efa if job.settings.require_efa is not None else job.platform.training.efa and job.num_training > 1
    container = InContainer(
        run_id=job.name,
        processes=job.launch.processes,
        max_restarts=job.launch.max_restarts,
        feeding_groups=[group.name for group in job.settings.instance_groups if group.feeds],
        require_efa=required,
        channel=None if channel_kind(job) == "none" else CHANNEL,
    )
    flat = dict(leaves({**tree, "container": container.model_dump(mode="json", exclude_defaults=True)}))
    long = [key for key, value in flat.items() if len(value) > MAX_VALUE]
    if len(flat) > MAX_HYPERPARAMETERS or long:
        raise LlmopsError(
            f"SageMaker takes {MAX_HYPERPARAMETERS} settings of {MAX_VALUE} characters; there are {len(flat)}"
            f"{f', and {long[0]} is longer' if long else ''}; leave out what is at its default"
        )
    return flat


def leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """`{"a": {"b": 1}}` as `[("a.b", "1")]`."""
    found = []
    for key, value in tree.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", json.dumps(value))]
    return found


def checkpoints(job: Job) -> str:
    """Where the run's checkpoints are; the same for a job that goes on after another, whatever its name."""
    from llmops_train.run import identity

    if job.config.checkpoint_uri:
        return job.config.checkpoint_uri
    settings = identity(job.config).model_dump_json(exclude={"tracking"})
    digest = hashlib.sha256(settings.encode() + job.manifest.to_json()).hexdigest()[:16]
    return join(job.platform.checkpoints_uri, f"{re.sub('[^a-zA-Z0-9]+', '-', job.config.name)}-{digest}")


def distributed(job: Job) -> Any:
    """AWS's own driver for what it starts; torchrun and SMDDP processes are started by our entry point."""
    from sagemaker.train.distributed import MPI, SMP, Torchrun  # type: ignore[import-untyped]

    match job.settings.distribution:
        case "mpi":
            return MPI(process_count_per_node=job.launch.processes, mpi_additional_options=job.settings.mpi_options or None)
        case "smp":
            smp = job.config.parallel.smp
            if smp is None:
                raise LlmopsError("launch.sagemaker.distribution smp needs parallel.engine=smp with parallel.smp")
            return Torchrun(
                process_count_per_node=job.launch.processes,
                smp=SMP(
                    hybrid_shard_degree=smp.hybrid_shard_degree or None,
                    sm_activation_offloading=smp.activation_offloading or None,
                ),
            )
        case _:
            if job.settings.distribution == "smddp" and job.config.parallel.backend != "smddp":
                raise LlmopsError("launch.sagemaker.distribution smddp needs parallel.backend=smddp, or the processes would talk by NCCL")
            return None


def source_code(job: Job, folder: Path) -> Any:
    """Script mode: the wheels, and a script that starts what the image would have started."""
    from sagemaker.core.training import configs  # type: ignore[import-untyped]

    if not job.settings.wheels:
        return None
    for wheel in job.settings.wheels:
        if not Path(wheel).is_file():
            raise LlmopsError(f"launch.sagemaker.wheels: {wheel} is no file; build the wheels of shared/ and services/train/ first")
        shutil.copyfile(wheel, folder / Path(wheel).name)
    (folder / "start.py").write_text(START)
    (folder / "requirements.txt").write_text("".join(f"./{Path(wheel).name}\n" for wheel in job.settings.wheels))
    return configs.SourceCode(source_dir=str(folder), requirements="requirements.txt", entry_script="start.py", ignore_patterns=[])
