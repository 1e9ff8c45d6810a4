"""EleutherAI's harness as the engine: its tasks over our rows, and one evaluation of them."""

import functools
import random
from typing import Any

import numpy as np

from llmops_shared.errors import LlmopsError
from llmops_train.benchmarks.code import CODE
from llmops_train.evaluation.config import BenchmarksConfig

SEED = 1234  # the harness's own


def measure(tasks: dict[str, Any], lm: Any, config: BenchmarksConfig, cache: str | None) -> dict[str, Any]:
    """What `simple_evaluate` does, without the index of all tasks and the look at this machine that it takes each time."""
    import torch
    from lm_eval.api.model import CachingLM
    from lm_eval.evaluator import evaluate

    random.seed(0)  # its own seeds, so that examples in front of a question are those that others report
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    for task in tasks.values():
        if task.get_config("num_fewshot") is None or (config.num_fewshot is not None and task.get_config("num_fewshot") != 0):
            task.set_config(key="num_fewshot", value=config.num_fewshot or 0)
        task.set_fewshot_seed(seed=SEED)
    found: dict[str, Any] = evaluate(
        lm=lm if cache is None else CachingLM(lm, f"{cache}_rank0.db"),
        task_dict={"tasks": tasks, "groups": {}},
        limit=config.limit,
        bootstrap_iters=0,
        confirm_run_unsafe_code=True,
        log_samples=True,
    )
    return found


def load_tasks(spec: Any) -> dict[str, Any]:
    """The harness's tasks of a name, or of settings laid over the stock task of that name."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    manager = task_manager()
    if isinstance(spec, str):
        loaded: dict[str, Any] = manager.load([spec])["tasks"]
        return loaded
    entry = manager.task_index.get(spec["task"])
    stock = {} if entry is None or spec["task"] in CODE else load_yaml(entry.yaml_path, resolve_func=True)
    settings = {key: value for key, value in {**stock, **spec}.items() if key not in ("tag", "group", "task_list")}
    return {spec["task"]: ConfigurableTask(config=settings)}


@functools.cache
def task_manager() -> Any:
    """The harness's index of its tasks, which takes seconds to make."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def check_examples(task: Any, num_fewshot: int | None) -> None:
    """Raises LlmopsError when the prompt wants examples and there are none but the questions themselves."""
    wanted = task.config.num_fewshot if num_fewshot is None else num_fewshot
    samples = task.fewshot_cfg.samples
    if wanted and not samples and task.config.fewshot_split is None and task.config.training_split is None:
        raise LlmopsError(
            f"benchmarks: {task.config.task} puts {wanted} examples in front, and there is no train split to take them from; "
            f"add one to benchmarks.data, or set benchmarks.num_fewshot=0"
        )
