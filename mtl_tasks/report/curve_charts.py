"""Charts of a task's curves on the test window: ROC, precision and recall, lift, residuals, metrics by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from mtl_tasks.report.charts import WIDE, colors, day_number, plain
from mtl_tasks.report.document import FLOOR, FUSION, models_in_order
from mtl_tasks.report.labels import metric
from mtl_tasks.report.svg import INK, MUTED, SERIES, STYLE, make_panels, to_svg
from mtl_tasks.store.documents.curves import DailyMetric, Histogram, Line, PredictionBin, TaskCurves

_HEIGHT: Final = 3.5  # inches of a row of panels
_SERIES_COLORS: Final = {"positive": SERIES[0], "negative": MUTED, FUSION: SERIES[0], FLOOR: MUTED}
_DASHES: Final = (4, 3)
_LEGEND_ROW: Final = 0.09  # of a panel's height
_NAMED_DAYS: Final = 7


def discrimination(curves: TaskCurves, title: str) -> Markup:
    """Draw ROC, precision by recall, and lift by tenth of the rows, of every model."""
    with matplotlib.rc_context(STYLE):
        figure, panels = make_panels(WIDE, _HEIGHT, 1, 3)
        _draw_lines(panels[0], curves.roc)
        panels[0].plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=_DASHES, label="_chance")
        _name(panels[0], "ROC", "false-positive share", "true-positive share")
        _draw_lines(panels[1], curves.precision_recall)
        _name(panels[1], "Precision and recall", "recall", "precision")
        color = colors(list(curves.lift))
        for name, shares in models_in_order(curves.lift).items():
            tenths = range(1, len(shares) + 1)
            panels[2].plot(tenths, shares, color=color[name], marker="o", markersize=3, label=name)
        panels[2].axhline(1, color=MUTED, linewidth=1, dashes=_DASHES)
        panels[2].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _name(panels[2], "Lift", "tenth of the rows, highest prediction first", "positive share ÷ mean")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
        return to_svg(figure, title)


def scores(histogram: Histogram, title: str) -> Markup:
    """Draw the distribution of the fusion's predictions among positive and among negative rows."""
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(WIDE, 2.9)
        _draw_histogram(axes, histogram)
        _name(axes, "Predictions by class", "predicted probability", "share of the class's rows")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return to_svg(figure, title)


def regression(bins: Sequence[PredictionBin], residuals: Histogram, unit: str, title: str) -> Markup:
    """Draw labels by bins of the predictions, and the distribution of the residuals."""
    with matplotlib.rc_context(STYLE):
        figure, panels = make_panels(WIDE, _HEIGHT, 1, 2)
        predicted = [one.predicted for one in bins]
        span = [min(predicted), max(predicted)]
        panels[0].plot(span, span, color=MUTED, linewidth=1, dashes=_DASHES, label="perfect")
        panels[0].vlines(
            predicted,
            [one.low for one in bins],
            [one.high for one in bins],
            color=SERIES[0],
            alpha=0.35,
            linewidth=4,
            label="10 % to 90 % of the labels",
        )
        actual = [one.actual for one in bins]
        panels[0].plot(predicted, actual, color=SERIES[0], marker="o", markersize=4, label="mean label")
        _add_legend(panels[0], "upper left", rows=3)
        _name(panels[0], "Predicted and actual", f"prediction ({unit})", f"label ({unit})")
        _draw_histogram(panels[1], residuals)
        panels[1].axvline(0, color=INK, linewidth=0.8)
        _add_legend(panels[1], "upper right", rows=2)
        _name(panels[1], "Residuals", f"label − prediction ({unit})", "share of the rows")
        return to_svg(figure, title)


def by_day(daily: DailyMetric, title: str) -> Markup:
    """Draw a metric of every model on each day of the test window."""
    shown, color = metric(daily.metric), colors(list(daily.models))
    days = [day_number(day) for day in daily.days]
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(WIDE, 2.9)
        for name, values in models_in_order(daily.models).items():
            width = 2.4 if name == FUSION else 1.2
            axes.plot(days, plain(values), color=color[name], linewidth=width, marker="o", markersize=3, label=name)
        if len(days) <= _NAMED_DAYS:  # the locator would go down to hours
            axes.set_xticks(days, daily.days)
        else:
            locator = AutoDateLocator(minticks=3, maxticks=9)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        unit = f" ({shown.unit})" if shown.unit else ""
        _name(axes, f"{shown.heading} by day", "day of the test window (UTC)", f"{shown.title}{unit}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return to_svg(figure, title)


def _add_legend(axes: Axes, loc: Literal["upper left", "upper right"], rows: int) -> None:
    """Add a legend above what is drawn."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + _LEGEND_ROW * rows * (high - low))
    axes.legend(loc=loc)


def _draw_lines(axes: Axes, lines: Mapping[str, Line]) -> None:
    color = colors(list(lines))
    for name, line in models_in_order(lines).items():
        axes.plot(line.x, line.y, color=color[name], linewidth=2.2 if name == FUSION else 1.2, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)


def _draw_histogram(axes: Axes, histogram: Histogram) -> None:
    """Draw each series as steps of its shares: the classes differ in size."""
    for name, counts in histogram.counts.items():
        total = max(sum(counts), 1)
        shares = [count / total for count in counts]
        axes.stairs(shares, histogram.edges, color=_SERIES_COLORS[name], linewidth=1.6, label=name)
    axes.set_ylim(bottom=0)


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(axis="y", labelcolor=MUTED)
