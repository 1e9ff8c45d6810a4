from pathlib import Path

import pytest

from llmops_monitor.alarms import FIVE_MINUTES, HOURS
from support.labelled_metrics import found_and_false, labelled_metrics


@pytest.mark.slow
def test_labelled_anomalies_of_cloudwatch_are_found_within_their_windows_with_few_false_alarms(test_data: Path) -> None:
    metrics = [metric for metric, _ in labelled_metrics(test_data / "cloudwatch-nab").values()]

    points = [found_and_false(metric, FIVE_MINUTES) for metric in metrics]
    hours = [found_and_false(metric.hourly(), HOURS) for metric in metrics]

    assert sum(len(metric.windows) for metric in metrics) == 22
    assert sum(found for found, _, _ in points) >= 16 and sum(false for _, false, _ in points) <= 4
    assert sum(found for found, _, _ in hours) >= 10 and sum(false for _, false, _ in hours) <= 4


@pytest.mark.slow
def test_nothing_that_comes_later_changes_an_alarm(test_data: Path) -> None:
    metric, _ = labelled_metrics(test_data / "cloudwatch-nab")["rds_cpu_utilization_e47b3b"]
    _, _, whole = found_and_false(metric, FIVE_MINUTES)

    assert whole
    for length in (900, 1000, 2600):
        _, _, cut = found_and_false(metric._replace(values=metric.values[:length]), FIVE_MINUTES)
        assert cut == [place for place in whole if place < length]
