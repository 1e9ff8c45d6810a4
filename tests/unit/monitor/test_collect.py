import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llmops_monitor.cli import main
from llmops_monitor.collect import Ledger, run
from llmops_monitor.profile import from_bytes
from llmops_monitor.traffic_config import CollectConfig
from llmops_shared.contracts.exchange import Exchange
from llmops_shared.store import join, store_for
from support.traffic import exchange, good, questions, write_log

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=300)


def at(moment: datetime, number: int, **changes: object) -> Exchange:
    return exchange(questions()[number % 500], number, good, time=moment, **changes)


def collect(root: str, now: datetime = NOW, **settings: object) -> Ledger:
    return run(CollectConfig.model_validate({"out": join(root, "windows"), "exchanges": join(root, "log"), **settings}), now)


def counts(root: str, ledger: Ledger) -> dict[str, int]:
    """Start of each window to the rows of its profile."""
    found = {}
    for start, name in ledger.windows.items():
        place = join(root, "windows", name)
        found[start[:16]] = from_bytes(store_for(place).read(place), place).num_rows
    return found


def test_each_record_is_in_exactly_one_window_and_is_read_once(root: str) -> None:
    spread = [at(NOON + timedelta(minutes=7 * number), number) for number in range(40)]
    write_log(join(root, "log"), spread[:10], "a.jsonl")
    first = collect(root)
    write_log(join(root, "log"), spread[10:], "b.jsonl")
    again = [collect(root), collect(root), collect(root)]

    assert first.num_records == 10 and [ledger.num_records for ledger in again] == [40, 40, 40]
    assert counts(root, again[-1]) == {
        "2026-11-23T12:00": 9,
        "2026-11-23T13:00": 9,
        "2026-11-23T14:00": 8,
        "2026-11-23T15:00": 9,
        "2026-11-23T16:00": 5,
    }
    assert len(store_for(root).entries(join(root, "log"))) == 2


def test_one_reading_gives_the_windows_of_many(tmp_path: Path) -> None:
    spread = [at(NOON + timedelta(minutes=number), number) for number in range(120)]
    for number in range(0, 120, 30):
        write_log(str(tmp_path / "many" / "log"), spread[number : number + 30], f"{number:03d}.jsonl")
        many = collect(str(tmp_path / "many"))
    write_log(str(tmp_path / "one" / "log"), spread, "a.jsonl")

    one = collect(str(tmp_path / "one"))

    assert counts(str(tmp_path / "one"), one) == counts(str(tmp_path / "many"), many) == {"2026-11-23T12:00": 60, "2026-11-23T13:00": 60}
    for start in one.windows:
        contents = [(tmp_path / name / "windows" / ledger.windows[start]).read_bytes() for name, ledger in (("one", one), ("many", many))]
        profiles = [from_bytes(content, "x") for content in contents]
        assert (profiles[0].priorities == profiles[1].priorities).all()


def test_late_records_go_into_the_oldest_open_window_and_are_counted(tmp_path: Path) -> None:
    write_log(str(tmp_path / "log"), [at(NOON, 1), at(NOON + timedelta(hours=5), 2)], "a.jsonl")
    collect(str(tmp_path))
    write_log(str(tmp_path / "log"), [at(NOON + timedelta(minutes=1), 3), at(NOON + timedelta(hours=4, minutes=1), 4)], "b.jsonl")

    ledger = collect(str(tmp_path))

    assert (ledger.num_records, ledger.num_late) == (4, 1)
    assert counts(str(tmp_path), ledger) == {"2026-11-23T12:00": 1, "2026-11-23T16:00": 2, "2026-11-23T17:00": 1}


def test_a_clock_in_the_future_closes_no_window(tmp_path: Path) -> None:
    write_log(str(tmp_path / "log"), [at(NOON, 1), at(NOW + timedelta(days=900), 2)], "a.jsonl")
    write_log(str(tmp_path / "log"), [at(NOON + timedelta(minutes=1), 3)], "b.jsonl")

    ledger = collect(str(tmp_path))

    assert (ledger.num_records, ledger.num_late, ledger.num_ahead) == (2, 0, 1)
    assert counts(str(tmp_path), ledger) == {"2026-11-23T12:00": 2}


@pytest.mark.parametrize("month", [3, 10])
def test_an_hour_that_clocks_skip_or_repeat_is_an_hour(tmp_path: Path, month: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    midnight = datetime(2026, month, 29 if month == 3 else 25, tzinfo=UTC)
    spread = [at((midnight + timedelta(minutes=10 * number)).astimezone(berlin), number) for number in range(36)]
    write_log(str(tmp_path / "log"), spread, "a.jsonl")

    ledger = collect(str(tmp_path))

    assert list(counts(str(tmp_path), ledger).values()) == [6] * 6


def test_after_a_crash_nothing_counts_twice(tmp_path: Path) -> None:
    write_log(str(tmp_path / "log"), [at(NOON, 1)], "a.jsonl")
    collect(str(tmp_path))
    before = (tmp_path / "windows" / "ledger.json").read_bytes()
    write_log(str(tmp_path / "log"), [at(NOON + timedelta(minutes=1), 2)], "b.jsonl")
    collect(str(tmp_path))
    (tmp_path / "windows" / "ledger.json").write_bytes(before)  # as if it had stopped before the last step

    ledger = collect(str(tmp_path))

    assert counts(str(tmp_path), ledger) == {"2026-11-23T12:00": 2}


def test_broken_lines_and_shadows_are_left_out(tmp_path: Path) -> None:
    write_log(str(tmp_path / "log"), [at(NOON, 1), at(NOON, 1, shadow=True), at(NOON, 1)], "a.jsonl")
    (tmp_path / "log" / "b.jsonl").write_text("{\n\n")

    ledger = collect(str(tmp_path))

    assert (ledger.num_records, ledger.num_broken) == (1, 1)
    assert json.loads((tmp_path / "windows" / "dead_letter-000000.jsonl").read_text())["line_number"] == 1


def test_other_settings_and_files_that_grew_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(str(tmp_path / "log"), [at(NOON, 1)], "a.jsonl")
    words = ["collect", f"exchanges={tmp_path / 'log'}", f"out={tmp_path / 'windows'}"]
    assert main(words) == 0
    codes = [main([*words, "window=day"]), main(["collect", f"exchanges={tmp_path / 'nowhere'}", f"out={tmp_path / 'x'}"])]
    write_log(str(tmp_path / "log"), [at(NOON, 1), at(NOON, 2)], "a.jsonl")
    codes.append(main(words))

    told = capsys.readouterr().err
    assert codes == [2, 2, 2]
    assert "was kept with other settings (window)" in told and "holds no exchange log" in told and "changed since it was read" in told


@pytest.mark.slow
def test_a_long_log_takes_the_memory_of_a_short_one(tmp_path: Path) -> None:
    import subprocess
    import sys

    lines = "".join(at(NOON + timedelta(seconds=number), number).model_dump_json() + "\n" for number in range(5000))
    peaks = []
    for repeats in (1, 8):
        folder = tmp_path / str(repeats)
        (folder / "log").mkdir(parents=True)
        for number in range(repeats):
            (folder / "log" / f"{number}.jsonl").write_text(lines.replace('"request-', f'"request-{number}-'))
        code = (
            "import resource\nfrom llmops_monitor.cli import main\n"
            f"assert main(['collect', 'exchanges={folder}/log', 'out={folder}/windows']) == 0\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.splitlines()[-1]))

    assert peaks[1] - peaks[0] < 25, peaks  # MiB; eight times the log is 24 MB more of text alone
