"""The comment on a pull request: what Terraform would change, and the price's difference: plan_comment.py ENV BASE PLAN."""
# ruff: noqa: T201 - what these scripts print is what the workflow reads

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_CHARACTERS = 60_000  # GitHub takes 65,536


def monthly_usd(environment: str) -> tuple[float, float]:
    """Idle and with ordinary work."""
    done = subprocess.run(["llmops-infra", "prices", environment], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return found["idle_usd"], found["total_usd"]


def price_line(environment: str, base: str) -> str:
    """The price now, and its difference to that of the branch's base."""
    idle, total = monthly_usd(environment)
    before = subprocess.run(
        ["git", "show", f"{base}:terraform/environments/{environment}.yaml"], capture_output=True, text=True, check=False
    )
    if before.returncode:
        return f"USD a month: {idle:,.0f} idle, {total:,.0f} with ordinary work (a new environment)"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{environment}.yaml"
        path.write_text(before.stdout)
        idle_before, total_before = monthly_usd(str(path))
    return f"USD a month: {idle:,.0f} idle ({idle - idle_before:+,.0f}), {total:,.0f} with ordinary work ({total - total_before:+,.0f})"


def main() -> None:
    """Prints the comment."""
    environment, base, path = sys.argv[1:4]
    plan = Path(path).read_text(errors="replace")
    if len(plan) > MAX_CHARACTERS:
        plan = f"(the first part is in the workflow's log)\n{plan[-MAX_CHARACTERS:]}"
    told = [line for line in plan.splitlines() if line.startswith(("Plan:", "No changes."))]
    fence = "~~~~"
    print(f"### {environment}: {' · '.join(told) or 'no plan'}\n\n{price_line(environment, base)}\n")
    print(f"<details><summary>the plan</summary>\n\n{fence}\n{plan}\n{fence}\n</details>")


if __name__ == "__main__":
    main()
