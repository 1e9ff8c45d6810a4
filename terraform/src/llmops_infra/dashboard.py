"""CloudWatch dashboards as data: rows of graphs."""

import json
from collections.abc import Sequence
from typing import Any

Widget = dict[str, Any]
NUM_COLUMNS = 3
WIDTH, HEIGHT = 24 // NUM_COLUMNS, 6


def graph(title: str, metrics: Sequence[Sequence[Any]], region: str, stat: str = "Average", period_s: int = 300) -> Widget:
    """A graph of metrics, each as CloudWatch writes them: namespace, name, dimension, value, ..."""
    properties = {"title": title, "metrics": [list(metric) for metric in metrics], "region": region, "stat": stat, "period": period_s}
    return {"type": "metric", "properties": {**properties, "view": "timeSeries"}}


def found(title: str, search: str, region: str, stat: str = "Average", period_s: int = 300) -> Widget:
    """A graph of whatever metrics a search finds: of jobs and endpoints that do not exist yet."""
    expression = {"expression": f"SEARCH('{search}', '{stat}', {period_s})", "id": "found"}
    return graph(title, [[expression]], region, stat, period_s)


def body(widgets: Sequence[Widget]) -> str:
    """The dashboard's JSON, laid out from left to right."""
    placed = [
        {"x": number % NUM_COLUMNS * WIDTH, "y": number // NUM_COLUMNS * HEIGHT, "width": WIDTH, "height": HEIGHT, **widget}
        for number, widget in enumerate(widgets)
    ]
    return json.dumps({"widgets": placed})
