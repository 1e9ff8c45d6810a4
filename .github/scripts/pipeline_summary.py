"""The summary of a pipeline's execution, with the link to its runs side by side in MLflow: pipeline_summary.py EXECUTION."""
# ruff: noqa: T201 - what these scripts print is what the workflow reads

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote


def main() -> None:
    """Prints Markdown; an execution that did not start has an empty file."""
    path = Path(sys.argv[1])
    content = path.read_text().strip() if path.exists() else ""
    if not content:
        print("The execution did not end well; the log of the step before says where and what to do.")
        return
    execution = json.loads(content)
    cost = "" if execution["usd"] is None else f", {execution['usd']:.2f} USD"
    print(f"### {execution['pipeline']} `{execution['run']}`: {execution['status']}{cost}\n")
    if url := os.environ.get("MLFLOW_URL"):
        # the address of the experiment's page; the stages nest below the run of that name
        wanted = quote(f"tags.`llmops.pipeline_run` = '{execution['run']}'")
        print(f"[The stages side by side in MLflow]({url.rstrip('/')}?searchFilter={wanted})")


if __name__ == "__main__":
    main()
