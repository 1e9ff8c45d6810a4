"""The HTML page of a report: one self-contained file, no script, readable when printed."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from llmops_shared.contracts.report import Measurement


class Table(NamedTuple):
    """Rows a person reads below the figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; --mark: #0969da; --good: #1a7f37; --bad: #cf222e }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.soft { color: var(--soft) } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem }
.verdict { display: inline-block; padding: .2rem .7rem; border: 2px solid; border-radius: .4rem; font-weight: 600 }
.pass, .better, .promote, .no_drift { color: var(--good) }
.fail, .worse, .drift, .alarm, .rollback { color: var(--bad) }
.keep, .no_difference, .not_enough_data { color: var(--soft) }
svg { display: block } .chart { margin: 1rem 0 } .chart svg { width: 100%; border-bottom: 1px solid var(--line) }
"""

VERDICTS = {
    "promote": "Promote",
    "keep": "Keep what is served",
    "rollback": "Roll back",
    "drift": "Drift",
    "no_drift": "No drift",
    "alarm": "A metric is unlike its past",
    "not_enough_data": "Not enough data",
    "pass": "Every threshold is met",
    "fail": "A threshold is missed",
    "better": "Better",
    "worse": "Worse",
    "no_difference": "No difference",
}


def render(
    title: str,
    summary: str,
    measurements: Sequence[Measurement],
    verdict: str | None = None,
    reasons: Sequence[str] = (),
    tables: Sequence[Table] = (),
    charts: Sequence[str] = (),
) -> str:
    """The page. All text is escaped: prompts and answers are data, never markup. `charts` are figures drawn by our own code."""
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(summary)}</p>']
    if verdict is not None:
        parts.append(f'<p><span class="verdict {escape(verdict)}">{escape(VERDICTS.get(verdict, verdict))}</span></p>')
    if reasons:
        parts.append("<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in reasons) + "</ul>")
    if measurements or not charts:
        parts.append(figures(measurements))
    parts.extend(charts)
    parts.extend(render_table(table) for table in tables)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n'


def figures(measurements: Sequence[Measurement]) -> str:
    """The table of figures, each with its interval where any has one."""
    intervals = any(item.low is not None and item.high is not None for item in measurements)
    column = "<th class=number>Interval</th>" if intervals else ""
    head = f"<tr><th>Metric</th><th class=number>Value</th>{column}<th class=number>Rows</th><th>Better</th></tr>"
    rows = []
    for item in measurements:
        interval = "" if item.low is None or item.high is None else f"{show(item.low)} to {show(item.high)}"
        cell = f"<td class=number>{interval}</td>" if intervals else ""
        unit = f" {escape(item.unit)}" if item.unit else ""
        better = "" if item.better == "neither" else item.better
        rows.append(
            f"<tr><td>{escape(item.name)}</td><td class=number>{show(item.value)}{unit}</td>"
            f"{cell}<td class=number>{item.num_rows}</td><td class=soft>{better}</td></tr>"
        )
    return f"<h2>Figures</h2><table>{head}{''.join(rows)}</table>"


def render_table(table: Table) -> str:
    """One table of text."""
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in row) + "</tr>" for row in table.rows)
    return f"<h2>{escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table>"


def show(value: float) -> str:
    """Four significant digits, without an exponent in the usual range."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
