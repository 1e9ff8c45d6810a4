"""`llmops-show DOCUMENT...`: what a set of reports and endpoints says, as one table, and where to look further."""

import argparse
import json
import sys
from collections.abc import Sequence

from llmops_shared.contracts import Endpoint, Report
from llmops_shared.contracts.report import Measurement
from llmops_shared.documents import document_uri, read_document
from llmops_shared.errors import LlmopsError
from llmops_shared.page import VERDICTS, show
from llmops_shared.store import exists, folder_of, join, store_for

NUM_REASONS = 5  # of one verdict; its page has all


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; 2 when a document cannot be read."""
    parser = argparse.ArgumentParser(prog="llmops-show", description="Prints reports and endpoints as one table.")
    parser.add_argument("documents", nargs="+", metavar="DOCUMENT", help="folder or JSON file of a report or an endpoint")
    arguments = parser.parse_args(argv)
    try:
        documents = [read_either(uri) for uri in arguments.documents]
    except LlmopsError as error:
        print(f"llmops-show: {error}", file=sys.stderr)
        return 2
    print("\n".join(summary(documents)))
    return 0


def read_either(uri: str) -> tuple[str, Report | Endpoint]:
    """URI and content of the report or the endpoint in a folder."""
    if uri.endswith(".json"):
        kind = json.loads(store_for(uri).read(uri)).get("kind")
        return uri, read_document(uri, Endpoint) if kind == "endpoint" else read_document(uri, Report)
    if exists(report := document_uri(uri, Report)):
        return report, read_document(report, Report)
    if exists(endpoint := document_uri(uri, Endpoint)):
        return endpoint, read_document(endpoint, Endpoint)
    raise LlmopsError(f"{uri}: holds neither {Report.file_name} nor {Endpoint.file_name}; name the folder a job wrote to")


def summary(documents: Sequence[tuple[str, Report | Endpoint]]) -> list[str]:
    """Evaluations side by side, verdicts in words, then the files to open."""
    reports = [(place, document) for place, document in documents if isinstance(document, Report)]
    endpoints = [(place, document) for place, document in documents if isinstance(document, Endpoint)]
    lines = [*side_by_side([report for _, report in reports if report.report == "evaluation"])]
    for _, report in reports:
        if report.report == "replay":
            lines += ["", f"{report.name}:", *by_window(report.measurements)]
        elif report.verdict is not None:
            lines += ["", f"{report.name}: {VERDICTS[report.verdict]}", *(f"  {reason}" for reason in report.reasons[:NUM_REASONS])]
            if len(report.reasons) > NUM_REASONS:
                lines.append(f"  ... and {len(report.reasons) - NUM_REASONS} more on its page")
    for place, endpoint in endpoints:
        served = ", ".join(f"{variant.name}{' (shadow)' if variant.shadow else ''}" for variant in endpoint.variants)
        lines += ["", f"{endpoint.name}, generation {endpoint.generation}: {served} — {endpoint.reason}", f"  {place}"]
    pages = [
        join(folder_of(place), part.path) for place, report in reports for part in report.parts.values() if part.path.endswith(".html")
    ]
    return [*lines, "", "Pages to open:", *(f"  {page}" for page in pages)]


def by_window(measurements: Sequence[Measurement]) -> list[str]:
    """A line for each window of traffic (`in_domain.latency_p50`), and one for the figures over all."""
    windows: dict[str, list[str]] = {}
    for item in measurements:
        window, _, name = item.name.rpartition(".")
        windows.setdefault(window or "all", []).append(f"{name} {show(item.value)}{item.unit and ' ' + item.unit}")
    return [f"  {window}: {', '.join(figures)}" for window, figures in windows.items()]


def side_by_side(reports: Sequence[Report]) -> list[str]:
    """A row a metric, a column a report, each value with its interval."""
    if not reports:
        return []
    names = list(dict.fromkeys(item.name for report in reports for item in report.measurements))
    rows = [["", *(report.name for report in reports)]]
    for name in names:
        found = [{item.name: item for item in report.measurements}.get(name) for report in reports]
        rows.append([name, *("-" if item is None else amount(item) for item in found)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def amount(item: Measurement) -> str:
    """Value, unit and interval of a figure."""
    unit = f" {item.unit}" if item.unit else ""
    if item.low is None or item.high is None:
        return f"{show(item.value)}{unit}"
    return f"{show(item.value)}{unit} [{show(item.low)}, {show(item.high)}]"


if __name__ == "__main__":
    sys.exit(main())
