"""The pages in a real browser, in a file of its own: Chromium takes seconds to start."""

from pathlib import Path

import pytest

from llmops_monitor import describe
from llmops_monitor.charts import line_chart
from llmops_monitor.traffic_config import DescribeConfig
from llmops_shared.page import render
from support.browser import browser
from support.traffic import exchange, good, questions, write_log

pytestmark = pytest.mark.slow


def test_the_pages_show_what_they_say(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    write_log(str(tmp_path / "log"), [exchange(row, number, good) for number, row in enumerate(questions()[:60])])
    describe.run(DescribeConfig(out=str(tmp_path / "report"), exchanges=str(tmp_path / "log")))
    times = [datetime(2026, 11, 23, 12, tzinfo=UTC) + timedelta(hours=hour) for hour in range(5)]
    chart = line_chart('<b>"refusal"</b>', times, [0.1, 0.2, float("nan"), 0.9, 0.2], marked=[3], shaded=[3, 4])
    (tmp_path / "history.html").write_text(
        render(
            "History: <i>x</i>",
            "five windows",
            [],
            "drift",
            ["It moved."],
            (),
            [chart, line_chart("none", times, [float("nan")] * 5), line_chart("error", times, [0.0] * 5)],
        )
    )

    with browser() as page:
        page.open((tmp_path / "report" / "report.html").as_uri())
        names = page.script("[...document.querySelectorAll('td:first-child')].map(cell => cell.innerText).join('|')")
        page.open((tmp_path / "history.html").as_uri())
        title = page.script("document.querySelector('h1').innerText")
        widths = page.script("[...document.querySelectorAll('polyline')].map(line => line.getBoundingClientRect().width)")
        dots = page.script("document.querySelectorAll('circle').length")
        mark = page.script("getComputedStyle(document.querySelector('circle[r=\"4\"]')).fill")
        wide = page.script("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        captions = page.script("[...document.querySelectorAll('figcaption')].map(caption => caption.innerText).join('|')")
        ends = page.script("[...document.querySelectorAll('svg text')].map(text => text.textContent).join('|')")
        bands = page.script("document.querySelectorAll('rect').length")
        caption = page.script("document.querySelector('figcaption').innerText")

    assert "refusal" in names and "toxicity" in names and "readability" in names
    assert title == "History: <i>x</i>" and '<b>"refusal"</b>' in caption  # text, never markup
    assert len(widths) == 2 and widths[0] > 100 and dots == 4
    assert (
        captions.endswith("|error always 0") and ends == "2026-11-23 12:00|2026-11-23 16:00" and bands == 2
    )  # what never moved has no chart
    assert mark == "rgb(207, 34, 46)" and wide
