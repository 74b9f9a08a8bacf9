"""Charts of several runs: calibration and a metric by day, one line for each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from mtl_tasks.report.charts import NARROW, day_number, plain
from mtl_tasks.report.document import FLOOR, FUSION
from mtl_tasks.report.labels import metric
from mtl_tasks.report.svg import INK, MUTED, SERIES, STYLE, make_panels, to_svg
from mtl_tasks.store.documents.curves import DailyMetric
from mtl_tasks.store.documents.evaluation import CalibrationPoint

_HEIGHT: Final = 3.2  # inches, without the legend
_LEGEND_COLUMNS: Final = 2
_LEGEND_ROW: Final = 0.19  # inches
_NAMED_DAYS: Final = 4  # for more, the locator chooses the dates


def calibration(runs: Mapping[str, Sequence[CalibrationPoint]], title: str) -> Markup:
    """Draw observed against predicted rates of each run's fusion.

    Parameters
    ----------
    runs
        Name to the bins of its calibration; one without bins is left out.
    """
    values = [value for bins in runs.values() for b in bins for value in (b.predicted, b.observed)]
    top = 1.08 * max([*values, 0.01])
    with matplotlib.rc_context(STYLE):
        axes = _make_panel(len(runs))
        axes.plot([0, top], [0, top], color=MUTED, linewidth=1, dashes=(4, 3), label="perfect")
        for (name, bins), color in zip(runs.items(), SERIES, strict=False):
            if bins:
                predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
                axes.plot(predicted, observed, color=color, marker="o", markersize=3.5, label=name)
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_xlabel("predicted probability (mean of a bin)")
        axes.set_ylabel("observed share")
        return _finish(axes, title)


def by_day(runs: Mapping[str, DailyMetric | None], title: str) -> Markup:
    """Draw the metric of each run's fusion on each day of its own test window, and thin lines for the floors.

    Parameters
    ----------
    runs
        Name to its metric by day; None for a run that has none. At least one has it; a run whose metric is another one
        than the first's, because its task is of another kind, is left out.
    """
    first = next(daily for daily in runs.values() if daily is not None)
    alike = {name: daily for name, daily in runs.items() if daily is not None and daily.metric == first.metric}
    color, shown = dict(zip(runs, SERIES, strict=False)), metric(first.metric)
    with matplotlib.rc_context(STYLE):
        axes = _make_panel(len(runs))
        for name, daily in alike.items():
            days = [day_number(day) for day in daily.days]
            if FLOOR in daily.models:
                axes.plot(days, plain(daily.models[FLOOR]), color=color[name], linewidth=0.9, dashes=(2, 2))
            axes.plot(days, plain(daily.models[FUSION]), color=color[name], marker="o", markersize=3.5, label=name)
        axes.plot([], [], color=INK, linewidth=0.9, dashes=(2, 2), label="floor of the run")
        _set_days(axes, sorted({day for daily in alike.values() for day in daily.days}))
        axes.set_xlabel("day of the test window (UTC)")
        axes.set_ylabel(f"{shown.title} ({shown.unit})" if shown.unit else shown.title)
        return _finish(axes, title)


def _make_panel(runs: int) -> Axes:
    """Return a panel with room above it for the names of so many runs and one more."""
    _, (axes,) = make_panels(NARROW, _HEIGHT + _LEGEND_ROW * math.ceil((runs + 1) / _LEGEND_COLUMNS))
    return axes


def _finish(axes: Axes, title: str) -> Markup:
    """Add the legend above the panel, as the lines of six runs leave no room in it, and return the drawing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_LEGEND_COLUMNS, borderaxespad=0.2)
    axes.tick_params(axis="y", labelcolor=MUTED)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return to_svg(figure, title)


def _set_days(axes: Axes, days: Sequence[str]) -> None:
    if len(days) <= _NAMED_DAYS:  # the locator would go down to hours
        axes.set_xticks([day_number(day) for day in days], list(days))
        return
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
