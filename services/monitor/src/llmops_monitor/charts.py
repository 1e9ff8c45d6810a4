"""Lines over time as SVG within a page: no script, readable in print."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from math import isfinite

from llmops_shared.page import show

WIDTH, HEIGHT, MARGIN = 900, 120, 8


def line_chart(name: str, times: Sequence[datetime], values: Sequence[float], marked: Sequence[int] = ()) -> str:
    """One metric over its windows; `marked` are places of alarms. Windows without a value leave a gap."""
    present = [value for value in values if isfinite(value)]
    if not present:
        return ""
    low, high = min(present), max(present)
    first, last = times[0].timestamp(), times[-1].timestamp()

    def point(place: int) -> tuple[float, float]:
        share = (times[place].timestamp() - first) / (last - first) if last > first else 0.5
        level = (values[place] - low) / (high - low) if high > low else 0.5
        return MARGIN + share * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - level * (HEIGHT - 2 * MARGIN)

    runs: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if isfinite(value):
            x, y = point(place)
            runs[-1].append(f"{x:.1f},{y:.1f}")
        elif runs[-1]:
            runs.append([])
    lines = "".join(f'<polyline fill="none" stroke="var(--mark)" stroke-width="1.5" points="{" ".join(run)}"/>' for run in runs if run)
    dots = "".join(
        f'<circle cx="{point(place)[0]:.1f}" cy="{point(place)[1]:.1f}" r="{4 if place in marked else 2}" '
        f'fill="var(--{"bad" if place in marked else "mark"})"><title>{escape(times[place].isoformat())}: {show(value)}</title></circle>'
        for place, value in enumerate(values)
        if isfinite(value)
    )
    newest = show(next(value for value in reversed(values) if isfinite(value)))
    head = f'<figcaption>{escape(name)} <span class="soft">{show(low)} to {show(high)}, last {newest}</span></figcaption>'
    return (
        f'<figure class="chart" data-metric="{escape(name)}">{head}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} over time">{lines}{dots}</svg></figure>'
    )
