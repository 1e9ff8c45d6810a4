"""`llmops-train train`: the same run inside a SageMaker training container, which calls `IMAGE train` on every host."""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from llmops_shared.contracts import TrainingRun
from llmops_shared.documents import document_uri
from llmops_shared.errors import LlmopsError
from llmops_train.config import TrainConfig
from llmops_train.container_config import ContainerConfig
from llmops_train.feed_config import FeedConfig, FeedServerConfig
from llmops_train.launch_config import LaunchConfig
from llmops_train.opt_ml import Cluster, Settings, read_cluster, read_feed, read_settings
from llmops_train.parallel.world import world_of

logger = logging.getLogger(__name__)

FAILURE_CHARACTERS = 1024  # what SageMaker shows of /opt/ml/output/failure

RENDEZVOUS_PORT, FEED_PORT = 29400, 7077


def train(config: ContainerConfig, environment: MutableMapping[str, str], options: list[str]) -> TrainingRun | None:
    """Trains on this host's share of the job, or feeds the hosts that do. The error of a failure is left where SageMaker shows it."""
    root = Path(config.root)
    with leaving_failure(root):
        cluster, settings = read_cluster(root), read_settings(root)
        if "MASTER_ADDR" not in environment and "SM_MASTER_ADDR" in environment:  # AWS's MPI driver names the place, but not to torch
            environment.update(MASTER_ADDR=environment["SM_MASTER_ADDR"], MASTER_PORT=environment.get("SM_MASTER_PORT", "7777"))
        world = world_of(environment) if is_worker(environment) else None
        if world is not None:
            from llmops_train.run import run

            return run(demanding_efa(settings), world)
        if cluster.group in settings.container.feeding_groups:
            feed(root, settings)
            return None
        prepare_network(cluster, settings, environment)
        return run_here(root, cluster, settings, options)


def is_worker(environment: MutableMapping[str, str]) -> bool:
    """Whether torchrun or mpirun has started this process as one of many."""
    return "RANK" in environment or "OMPI_COMM_WORLD_RANK" in environment


def run_here(root: Path, cluster: Cluster, settings: Settings, options: list[str]) -> TrainingRun | None:
    """Starts this host's processes, and tells the feeding hosts when training is over."""
    from llmops_train.feed.server import stop
    from llmops_train.launchers import local

    hosts = cluster.hosts
    feeding = [f"{host}:{FEED_PORT}" for name in settings.container.feeding_groups for host in cluster.groups.get(name, [])]
    config, launch = on_host(root, settings, feeding, len(hosts)), launch_of(cluster, settings)
    code = 1
    try:
        document = local.launch(config, launch, options)
        code = 0
    finally:
        if cluster.current_host == hosts[0]:
            stop(feeding, code)
    place = document_uri(config.out, TrainingRun)
    if document is not None and not place.startswith(str(root)):
        (root / "model").mkdir(parents=True, exist_ok=True)
        (root / "model" / TrainingRun.file_name).write_bytes(document.to_json())  # the job's model archive names the run
    return document


def launch_of(cluster: Cluster, settings: Settings) -> LaunchConfig:
    """How this host's processes meet those of the others."""
    hosts, several = cluster.hosts, len(cluster.hosts) > 1
    return LaunchConfig(
        processes=settings.container.processes,
        nodes=len(hosts),
        node=hosts.index(cluster.current_host),
        rendezvous=f"{hosts[0]}:{RENDEZVOUS_PORT}" if several else None,
        address=cluster.current_host if several else None,
        run_id=settings.container.run_id,
        max_restarts=settings.container.max_restarts,
    )


def on_host(root: Path, settings: Settings, feeding: list[str], num_hosts: int) -> TrainConfig:
    """The run's settings with what this container adds: channels, feeding hosts, and where SageMaker keeps checkpoints."""
    config, changes = demanding_efa(settings), {}
    if feeding:
        feed = {**config.feed.identity().model_dump(), "shards": config.feed.shards, "input_mode": "remote", "servers": feeding}
        changes["feed"] = FeedConfig.model_validate(feed)
    else:
        changes["feed"] = read_feed(root, settings)
    checkpoints = root / "checkpoints"
    if config.checkpoint_uri is None and checkpoints.is_dir() and num_hosts == 1:  # SageMaker copies it to S3 host by host
        return config.model_copy(update={**changes, "checkpoint_uri": str(checkpoints)})
    return config.model_copy(update=changes)


def demanding_efa(settings: Settings) -> TrainConfig:
    """The run's settings, which also hold NCCL to EFA where the job must have it; SageMaker's own library has no other network."""
    parallel = settings.train.parallel
    if not settings.container.require_efa or parallel.engine == "none" or parallel.backend not in ("auto", "nccl"):
        return settings.train
    return settings.train.model_copy(update={"parallel": parallel.model_copy(update={"require_efa": True})})


def feed(root: Path, settings: Settings) -> None:
    """Reads and collates for the training hosts until they are done."""
    from llmops_train.feed.server import serve

    serve(FeedServerConfig(dataset=settings.train.dataset, feed=read_feed(root, settings), host="0.0.0.0", port=FEED_PORT, idle_s=1800))


def prepare_network(cluster: Cluster, settings: Settings, environment: MutableMapping[str, str]) -> None:
    """Names the interface to talk over, and EFA where the host has it. Raises LlmopsError where it should have it and has not."""
    from llmops_train.doctor.efa import devices

    found = devices(Path("/sys/class/infiniband"))
    if settings.container.require_efa and not found:
        raise LlmopsError(
            "this host has no EFA device (/sys/class/infiniband is empty), and container.require_efa forbids TCP in its place; choose an "
            "instance type with EFA, or submit the job with launch.sagemaker.require_efa=false"
        )
    if len(cluster.hosts) > 1 and Path("/sys/class/net", cluster.interface).exists():
        environment.setdefault("NCCL_SOCKET_IFNAME", cluster.interface)
        environment.setdefault("GLOO_SOCKET_IFNAME", cluster.interface)
    if found:
        for name, value in {"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "RDMAV_FORK_SAFE": "1"}.items():
            environment.setdefault(name, value)
        logger.info("EFA: %s", ", ".join(found))


@contextmanager
def leaving_failure(root: Path) -> Iterator[None]:
    """Within it, an error is written where SageMaker looks for the reason of a failure."""
    try:
        yield
    finally:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, KeyboardInterrupt):
            folder = root / "output"
            folder.mkdir(parents=True, exist_ok=True)
            text = str(error) if isinstance(error, LlmopsError) else f"{type(error).__name__}: {error}"
            (folder / "failure").write_text(text[:FAILURE_CHARACTERS])
