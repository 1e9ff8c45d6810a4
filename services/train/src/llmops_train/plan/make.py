"""`llmops-train plan`: whether a run fits, how long it takes and what it costs, before it starts."""

import logging
from collections.abc import Iterator
from typing import Any

from llmops_shared.contracts import DatasetManifest, Platform
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.hosting.instances import GPUS
from llmops_shared.prices.price_list import PriceList, read_prices
from llmops_train.plan.arithmetic import flops_a_token, trained_parameters
from llmops_train.plan.config import PlanConfig
from llmops_train.plan.document import Choice, TrainingPlan
from llmops_train.plan.facts import Work, shape_of_start, work_of
from llmops_train.plan.instances import Place, check_type, place_of
from llmops_train.plan.memory import Split, memory_of
from llmops_train.plan.shape import Shape

logger = logging.getLogger(__name__)

HERE = "this machine"
PROCESS_BYTES = 0.6 * 2**30
"""Python with torch, transformers and peft."""
AGAIN = 4 / 3
"""Activation checkpointing computes the forward pass twice."""


def plan(config: PlanConfig, clients: "Clients | None" = None) -> TrainingPlan:
    """The plan. Raises LlmopsError where the run itself could not start: no such dataset, model or instance type."""
    place = document_uri(config.dataset, DatasetManifest)
    manifest = read_document(place, DatasetManifest)
    shape, work = shape_of_start(config, manifest), work_of(config, place, manifest)
    target_share = config.plan.target_share if manifest.view == "chat" else 1.0
    flops = flops_a_token(shape, config, work.sequence_length, target_share) * work.num_tokens
    prices = read_prices(config.plan.region)
    asked = clients if clients is not None else Clients(config.plan.region)
    choices = [
        check(choose(config, shape, work, flops, target_share, where, prices), config, asked if config.plan.account else None)
        for where in places(config, prices)
    ]
    choices.sort(key=lambda choice: (bool(choice.problems), choice.usd or 0.0, choice.hours))
    for choice in choices:
        logger.info("%s", line_of(choice))
    best = choices[0].place if choices and not choices[0].problems else None
    return TrainingPlan(
        method=config.method,
        num_parameters=shape.num_parameters + (trained_parameters(shape, config) if config.adapter else 0),
        num_trainable_parameters=trained_parameters(shape, config),
        num_tokens=work.num_tokens,
        num_steps=work.num_steps,
        flops=flops,
        prices=f"{prices.region}, {prices.date}: {prices.source}",
        choices=choices,
        best=best,
        verdict="fail" if best is None else "pass",
    )


class Clients:
    """AWS clients, made when they are first asked."""

    def __init__(self, region: str) -> None:
        self.region = region

    def client(self, service: str) -> Any:
        """A client of a service."""
        import boto3

        return boto3.client(service, region_name=self.region)


def places(config: PlanConfig, prices: PriceList) -> Iterator[Place]:
    """What to look at: the types named, that of the launch, or this machine and all that have GPUs and a price."""
    bfloat16 = config.dtype == "bfloat16"
    named = config.plan.instance_types or launched_type(config)
    if named:
        for name in named:
            yield place_of(name, bfloat16)
        return
    yield this_machine(config)
    for name in GPUS:
        if name in prices.instances and known(name):
            yield place_of(name, bfloat16)


def known(instance_type: str) -> bool:
    """Whether SageMaker trains on a type."""
    try:
        check_type(instance_type)
    except LlmopsError:
        return False
    return True


def launched_type(config: PlanConfig) -> list[str]:
    """The instance type of `launch`, or of the group that trains."""
    job = config.launch.sagemaker if config.launch else None
    if job is None:
        return []
    groups = [group.instance_type for group in job.instance_groups if not group.feeds]
    return groups or ([job.instance_type] if job.instance_type else [platform_of(job.platform).training.instance_type])


def platform_of(uri: str) -> Platform:
    """The platform document, which has the defaults of jobs."""
    from llmops_train.launchers.sagemaker import read_platform

    return read_platform(uri)


def num_instances_of(config: PlanConfig) -> int:
    """Instances that train."""
    job = config.launch.sagemaker if config.launch else None
    groups = [group.num_instances for group in job.instance_groups if not group.feeds] if job else []
    if config.plan.num_instances or job is None:
        return config.plan.num_instances or 1
    return groups[0] if groups else (job.num_instances or platform_of(job.platform).training.num_instances)


def this_machine(config: PlanConfig) -> Place:
    """The machine the plan is made on: its GPU, or its processor and memory."""
    import psutil
    import torch

    from llmops_train.watching.peak import matmul_rate

    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Place(HERE, torch.cuda.device_count(), torch.cuda.get_device_name(), float(free), matmul_rate("cuda", dtype))
    torch.set_num_threads(config.num_threads or torch.get_num_threads())
    left = psutil.virtual_memory().available - PROCESS_BYTES
    return Place(HERE, 1, f"{torch.get_num_threads()} threads", left, matmul_rate("cpu", dtype))


def choose(config: PlanConfig, shape: Shape, work: Work, flops: float, target_share: float, where: Place, prices: PriceList) -> Choice:
    """What the run needs and takes at a place."""
    instances = 1 if where.name == HERE else num_instances_of(config)
    processes = 1 if config.parallel.engine == "none" else processes_of(config, where, instances)
    cells = config.parallel.tensor * config.parallel.pipeline
    split = Split(max(1, processes // cells), config.parallel.tensor, config.parallel.pipeline)
    memory = memory_of(shape, config, work.sequence_length, split, target_share)
    again = AGAIN if config.gradient_checkpointing else 1.0
    # padding is computed, too
    seconds = flops * again / work.fill / (where.rate * config.plan.utilization * processes)
    usd = None if where.name == HERE else prices.instance(where.name) * instances * seconds / 3600
    return Choice(
        place=where.name,
        num_instances=instances,
        num_processes=processes,
        processor=where.processor,
        memory_needed_bytes=memory.peak,
        memory_there_bytes=int(where.memory_bytes),
        memory=memory.as_dict(),
        fits=memory.peak <= where.memory_bytes,
        tokens_per_second=work.num_tokens / seconds,
        hours=seconds / 3600,
        usd=usd,
        problems=layout_problems(config, processes),
    )


def processes_of(config: PlanConfig, where: Place, instances: int) -> int:
    """One a GPU, or as many as the launch says."""
    given = config.launch.processes if config.launch else None
    nodes = config.launch.nodes if config.launch and where.name == HERE else instances
    return (given or where.num_processors) * nodes


def layout_problems(config: PlanConfig, processes: int) -> list[str]:
    """Why processes cannot be laid out as the config says."""
    cells = config.parallel.tensor * config.parallel.pipeline
    if processes % cells:
        return [f"{processes} processes are no multiple of tensor {config.parallel.tensor} x pipeline {config.parallel.pipeline}"]
    return []


def check(choice: Choice, config: PlanConfig, clients: Clients | None) -> Choice:
    """The choice with all that speaks against it, quota and zones asked where there are clients."""
    problems = list(choice.problems)
    if not choice.fits:
        need, there = choice.memory_needed_bytes / 2**30, choice.memory_there_bytes / 2**30
        problems.append(f"needs {need:.1f} GiB a process, and there are {there:.1f}")
    if config.plan.max_usd is not None and choice.usd is not None and choice.usd > config.plan.max_usd:
        problems.append(f"costs {choice.usd:,.2f} USD, more than plan.max_usd {config.plan.max_usd:g}")
    if config.plan.max_hours is not None and choice.hours > config.plan.max_hours:
        problems.append(f"takes {choice.hours:.1f} hours, more than plan.max_hours {config.plan.max_hours:g}")
    if clients is None or choice.place == HERE:
        return choice.model_copy(update={"problems": problems})
    from llmops_train.plan.ec2 import zones_of, zones_with
    from llmops_train.plan.service_quotas import training_quota

    job = config.launch.sagemaker if config.launch else None
    quota = training_quota(clients.client("service-quotas"), choice.place, bool(job and job.spot))
    zones = zones_with(clients.client("ec2"), choice.place)
    wanted = config.plan.zones or (zones_of(clients.client("ec2"), platform_of(job.platform).subnet_ids) if job else zones)
    if quota is None:
        problems.append("Service Quotas knows no training quota of it")
    elif quota < choice.num_instances:
        problems.append(f"the account may train on {quota:g} of it at a time, {choice.num_instances} are wanted: ask for a higher quota")
    if not set(zones) & set(wanted):
        problems.append(f"is in {', '.join(zones) or 'no zone of the region'}, the job's subnets in {', '.join(wanted) or 'none'}")
    return choice.model_copy(update={"problems": problems, "quota": quota, "zones": zones})


def line_of(choice: Choice) -> str:
    """The choice, as a person reads it."""
    price = "" if choice.usd is None else f", {choice.usd:,.2f} USD"
    need, there = choice.memory_needed_bytes / 2**30, choice.memory_there_bytes / 2**30
    problems = f"; no: {'; '.join(choice.problems)}" if choice.problems else ""
    return (
        f"{choice.place} x {choice.num_instances} ({choice.num_processes} processes on {choice.processor}): {need:.2f} of {there:.1f} GiB, "
        f"{choice.tokens_per_second:,.0f} tokens/s, {choice.hours:.2f} h{price}{problems}"
    )
