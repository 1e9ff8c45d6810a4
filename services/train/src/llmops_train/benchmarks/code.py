"""HumanEval and MBPP: programs written by the model run in the sandbox, pass@1."""

from collections.abc import Callable
from typing import Any

from llmops_train.sandbox.sandbox import Outcome, Sandbox

PROMPTS_AND_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # as in the paper (Chen et al. 2021, arXiv:2107.03374)
VERSION = "1"
CODE = ("humaneval", "mbpp")


def check_program(row: dict[str, Any], completion: str) -> str:
    """The whole program: prompt, what the model wrote, the test, its call."""
    if "entry_point" in row:
        return f"{row['prompt']}{completion}\n{row['test']}\ncheck({row['entry_point']})\n"
    return "\n".join([completion, row.get("test_setup_code", ""), *row["test_list"]]) + "\n"


def prompt_of(row: dict[str, Any]) -> str:
    """What the model continues: the function's head, or for MBPP as first published the task with its tests."""
    if "entry_point" in row:
        return str(row["prompt"])
    tests = "\n".join(row["test_list"])
    task = f"You are an expert Python programmer, and here is your task: {row['text']}"
    return f"{task} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"


def code_task(name: str, splits: dict[str, Any], sandbox: Sandbox) -> dict[str, Any]:
    """The task as the harness takes it."""
    published = "entry_point" not in splits["test"][0]

    def passes(row: dict[str, Any], results: list[str]) -> dict[str, float]:
        return {"pass_at_1": float(sandbox.run(check_program(row, results[0])).status == "passed")}

    return {
        "task": name,
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": prompt_of,
        "doc_to_target": lambda row: str(row.get("canonical_solution") or row.get("code") or ""),
        "process_results": passes,
        "metric_list": [{"metric": "pass_at_1", "aggregation": "mean", "higher_is_better": True}],
        "generation_kwargs": {"until": ["[DONE]"] if published else list(PROMPTS_AND_STOPS), "do_sample": False, "max_gen_toks": 512},
        "num_fewshot": 0,
        "metadata": {"version": f"llmops-{VERSION}"},
    }


def run_reference(row: dict[str, Any], run: Callable[[str], Outcome]) -> Outcome:
    """The published solution under the published test."""
    return run(check_program(row, str(row.get("canonical_solution") or row.get("code") or "")))
