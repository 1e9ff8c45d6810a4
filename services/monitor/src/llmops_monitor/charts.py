"""Lines over time as SVG within a page: no script, readable in print."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from math import isfinite

from llmops_shared.page import show

WIDTH, HEIGHT, MARGIN, AXIS = 900, 120, 8, 16


def line_chart(
    name: str, times: Sequence[datetime], values: Sequence[float], marked: Sequence[int] = (), shaded: Sequence[int] = ()
) -> str:
    """One metric over its windows; `marked` are places of alarms, `shaded` windows that differ. Windows without a value leave a gap.

    A metric that never moved is a line of text: most of the room on a page of twenty metrics would be theirs.
    """
    present = [value for value in values if isfinite(value)]
    if not present:
        return ""
    low, high = min(present), max(present)
    if low == high:
        told = f"always {show(low)}" if len(present) == len(values) else f"always {show(low)}, in {len(present)} of {len(values)}"
        return f'<figure class="chart" data-metric="{escape(name)}">{caption(name, told)}</figure>'
    first, last = times[0].timestamp(), times[-1].timestamp()

    def across(place: int) -> float:
        share = (times[place].timestamp() - first) / (last - first) if last > first else 0.5
        return MARGIN + share * (WIDTH - 2 * MARGIN)

    def point(place: int) -> tuple[float, float]:
        return across(place), HEIGHT - MARGIN - (values[place] - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    width = max(2.0, (WIDTH - 2 * MARGIN) / max(1, len(times) - 1))
    bands = "".join(
        f'<rect x="{across(place) - width / 2:.1f}" y="0" width="{width:.1f}" height="{HEIGHT}" fill="var(--bad)" opacity="0.12"/>'
        for place in shaded
    )
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
        f'fill="var(--{"bad" if place in marked else "mark"})"><title>{escape(clock(times[place]))}: {show(value)}</title></circle>'
        for place, value in enumerate(values)
        if isfinite(value)
    )
    newest = show(next(value for value in reversed(values) if isfinite(value)))
    head = caption(name, f"{show(low)} to {show(high)}, last {newest}")
    return (
        f'<figure class="chart" data-metric="{escape(name)}">{head}<svg viewBox="0 0 {WIDTH} {HEIGHT + AXIS}" role="img" '
        f'aria-label="{escape(name)} over time">{bands}{axis(times, across)}{lines}{dots}</svg></figure>'
    )


def caption(name: str, told: str) -> str:
    """A metric's name, and its figures."""
    return f'<figcaption>{escape(name)} <span class="soft">{told}</span></figcaption>'


def axis(times: Sequence[datetime], across: Callable[[int], float]) -> str:
    """A line at every midnight, or every few, and the times of both ends."""
    midnights = [place for place in range(1, len(times)) if times[place].date() != times[place - 1].date()]
    apart = max(1, len(midnights) // 14)
    shown = midnights[::apart] if len(midnights) < len(times) - 1 else []  # windows of days have one at each
    ticks = "".join(f'<path d="M{across(place):.1f} 0V{HEIGHT}" stroke="var(--line)" stroke-dasharray="2 3"/>' for place in shown)
    ends = "".join(
        f'<text x="{x}" y="{HEIGHT + AXIS - 4}" text-anchor="{anchor}" font-size="11" fill="var(--soft)">{clock(time)}</text>'
        for x, anchor, time in ((MARGIN, "start", times[0]), (WIDTH - MARGIN, "end", times[-1]))
    )
    return ticks + ends


def clock(time: datetime) -> str:
    """A time as people read it, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"
