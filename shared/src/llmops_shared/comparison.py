"""The saved comparison of an experiment: MLflow's page with one chart a question, over every run that has an answer.

MLflow keeps a shared view as a tag of the experiment (`mlflow.sharedViewState.KEY`), which the page opens by `viewStateShareKey=KEY`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

KEY = "llmops-comparison"
TAG = f"mlflow.sharedViewState.{KEY}"
COST = "usd_per_1000_good_answers"
CHARTS = {
    "What is it worth?": (COST, "rouge_l", "judge_preference"),
    "How well does the model know the text?": ("perplexity", "validation_loss", "answer_exact_match"),
    "How fast is it?": ("latency_ms", "tokens_per_second", "mfu"),
}
LEFT_OUT = ("pipeline", "monitor", "preprocess", "index", "package", "serve")
"""Stages whose runs are no candidates; those of a pipeline and of a comparison would moreover fold the others away below them."""
NUM_RUNS = 20


def view() -> str:
    """The view as MLflow's page reads it; a tag holds at most 5,000 characters."""
    charts = [chart for place, metrics in enumerate(CHARTS.values()) for chart in bars(f"s{place}", metrics)]
    sections = [
        {"uuid": f"s{place}", "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": False}
        for place, name in enumerate(CHARTS)
    ]
    wanted = " AND ".join(f"tags.`llmops.stage` != '{stage}'" for stage in LEFT_OUT)  # the language has no OR, and IN not for tags
    # in this order the page does not fetch the runs above, too
    order = {"orderByKey": f"metrics.`{COST}`", "orderByAsc": True}
    state = {"searchFilter": wanted, **order, "compareRunCharts": charts, "compareRunSections": sections, "isAccordionReordered": True}
    return json.dumps(state, separators=(",", ":"))


def bars(section: str, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A bar chart a metric: a bar for each run that has it."""
    for metric in metrics:
        place = {"uuid": metric, "metricSectionId": section, "deleted": False, "isGenerated": False}
        yield {"type": "BAR", "metricKey": metric, "runsCountToCompare": NUM_RUNS, **place}


def page(server: str, experiment_id: str) -> str:
    """Its address."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}&compareRunsMode=CHART"
