"""Charts of several runs: each run has a line and a name, and names never cover lines."""

from __future__ import annotations

import re

import pytest

from mtl_tasks.report import compare_charts
from mtl_tasks.report.svg import SERIES
from mtl_tasks.store.documents.curves import DailyMetric
from mtl_tasks.store.documents.evaluation import CalibrationPoint
from tests.support.charts import parsed, texts

NAMES = [f"2013-05-{10 + number} {number}{'a' * 7}" for number in range(len(SERIES))]  # as many runs as are compared


def bins(shift: float) -> list[CalibrationPoint]:
    return [CalibrationPoint(predicted=0.1 * n, observed=0.1 * n + shift, rows=100) for n in range(1, 6)]


def daily(days: int, shift: float = 0.0, *, floor: bool = True) -> DailyMetric:
    models: dict[str, tuple[float | None, ...]] = {"fusion": tuple(0.6 + shift + 0.01 * day for day in range(days))}
    if floor:
        models["popularity"] = (None, *(0.5 + shift for _ in range(days - 1)))
    dates = tuple(f"2013-05-{day + 1:02d}" for day in range(days))
    return DailyMetric(metric="auc", days=dates, rows=(100,) * days, models=models)


CALIBRATIONS = {name: bins(0.01 * number) for number, name in enumerate(NAMES)}
BY_DAY = {name: daily(7, 0.01 * number) for number, name in enumerate(NAMES)}
DRAWN = {
    "calibration": lambda: compare_charts.calibration(CALIBRATIONS, "calibration of the <runs>"),
    "by day": lambda: compare_charts.by_day(BY_DAY, "AUC by day, of the <runs>"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_chart_is_well_formed_uses_the_colors_of_the_page_and_is_the_same_each_time(name: str) -> None:
    svg = DRAWN[name]()
    assert (parsed(svg).get("aria-label") or "").endswith("of the <runs>")
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert DRAWN[name]() == svg


@pytest.mark.parametrize("name", DRAWN)
def test_every_run_has_its_name_and_a_color_of_its_own(name: str) -> None:
    svg = DRAWN[name]()
    assert set(NAMES) <= set(texts(svg))
    assert all(f"stroke:var(--series-{number})" in svg for number in range(1, len(NAMES) + 1))


@pytest.mark.parametrize("name", DRAWN)
def test_the_names_are_above_the_panel(name: str) -> None:
    svg = DRAWN[name]()
    names = [float(y) for y in re.findall(r' y="([\d.]+)">2013-05-\d\d \d', svg)]
    grid = re.findall(r' d="M[\d.]+ [\d.]+L[\d.]+ ([\d.]+)"[^>]*stroke:var\(--grid\);stroke-width:0.6', svg)
    assert len(names) == len(NAMES)
    assert max(names) < min(map(float, grid))


def test_axes_are_labeled_with_their_units() -> None:
    assert {"predicted probability (mean of a bin)", "observed share", "perfect"} <= set(texts(DRAWN["calibration"]()))
    assert {"day of the test window (UTC)", "AUC (0.5 is chance)"} <= set(texts(DRAWN["by day"]()))


def test_a_run_without_the_figures_has_no_line() -> None:
    absent, present = NAMES[:2]
    for svg in (
        compare_charts.calibration({absent: [], present: bins(0)}, "calibration"),
        compare_charts.by_day({absent: None, present: daily(7)}, "by day"),
    ):
        assert absent not in texts(svg)
        assert present in texts(svg)
        assert "series-1)" not in svg  # a run keeps the color of its place


def test_a_few_days_are_all_named_and_of_many_only_some() -> None:
    days = list(daily(3).days)
    assert [text for text in texts(compare_charts.by_day({NAMES[0]: daily(3)}, "t")) if text in days] == days
    assert not {*daily(20).days} & {*texts(compare_charts.by_day({NAMES[0]: daily(20)}, "t"))}


def test_a_floor_is_a_dashed_line_of_the_run_s_color() -> None:
    dashed = r"stroke:var\(--series-1\);[^\"]*stroke-dasharray|stroke-dasharray[^\"]*stroke:var\(--series-1\)"
    assert re.search(dashed, compare_charts.by_day({NAMES[0]: daily(7)}, "t"))
    assert not re.search(dashed, compare_charts.by_day({NAMES[0]: daily(7, floor=False)}, "t"))
