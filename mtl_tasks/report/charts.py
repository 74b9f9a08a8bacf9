"""The report's charts. Series keep their colors across charts, and long curves are thinned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mtl_tasks.report.document import FLOOR, FUSION, models_in_order
from mtl_tasks.report.labels import WINDOW_USES, feature_title, metric
from mtl_tasks.report.svg import INK, MUTED, SERIES, STYLE, make_panels, to_svg
from mtl_tasks.store.documents.evaluation import CalibrationPoint
from mtl_tasks.store.documents.measurements import Measurement, Measurements
from mtl_tasks.store.documents.training import FeatureEffect, LearningCurve

_WINDOW_COLORS: Final = {"tune": SERIES[1], "blend": SERIES[1], "test": SERIES[0]}
WIDE, NARROW = 10.3, 4.85  # inches; these fill a card or half a card of the widest page
_CURVE_POINTS = 300
_TOP_FEATURES = 20
_LABEL_PAD = 3.5  # points between a panel and the names of its rows
_SMOOTHING = 20  # a running mean spans 1/20 of a curve
_NO_DIRECTION = 0.1
_UP, _DOWN, _UNCLEAR = "a higher value raises", "a higher value lowers", "no clear direction"
_DIRECTIONS: Final = {_UP: SERIES[0], _DOWN: SERIES[1], _UNCLEAR: MUTED}


def colors(models: Sequence[str]) -> dict[str, str]:
    """Return a color for every model: muted for the popularity baseline, the first series color for the fusion."""
    others = [model for model in models if model not in (FLOOR, FUSION)]
    cycle = {model: SERIES[1 + number % (len(SERIES) - 1)] for number, model in enumerate(others)}
    return {FLOOR: MUTED, FUSION: SERIES[0], **cycle}


def timeline(windows: Mapping[str, tuple[str, str]], as_of: str) -> Markup:
    """Draw each window as a bar on a date axis.

    Parameters
    ----------
    windows
        Name to first and last day (``YYYY-MM-DD``, both inclusive).
    """
    spans = {name: (day_number(first), day_number(last) + 1) for name, (first, last) in windows.items()}
    limits = (min(first for first, _ in spans.values()), day_number(as_of))
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(WIDE, 0.9 + 0.34 * len(windows))
        for row, (name, (first, end)) in enumerate(spans.items()):
            axes.barh(row, end - first, left=first, height=0.62, color=_WINDOW_COLORS.get(name, MUTED))
            use = WINDOW_USES.get(name)
            text = f"{end - first:.0f} days: {use}" if use else f"{end - first:.0f} days"
            _label_beside(axes, row, text, (first, end), limits)
        axes.set_yticks(range(len(spans)), list(spans))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.axvline(limits[1], color=INK, linewidth=1)
        axes.set_title(f"as_of {as_of}", loc="right", fontsize=8.5)
        axes.set_xlim(limits[0], limits[1] + 1)
        locator = AutoDateLocator(minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_xlabel("day (UTC)")
        return to_svg(figure, f"Window timeline up to {as_of}")


def differences(gains: Mapping[str, Measurements], names: Sequence[str], title: str) -> Markup:
    """Draw every model's gain over the baseline with its interval, one panel per metric; right of zero is better."""
    models = list(models_in_order(gains))
    color = colors(models)
    with matplotlib.rc_context(STYLE):
        height, gap = 0.85 + 0.3 * len(models), {"wspace": 0.12}
        figure, panels = make_panels(WIDE, height, 1, len(names), sharey=True, gridspec_kw=gap)
        for axes, name in zip(panels, names, strict=True):
            for row, model in enumerate(models):
                _whisker(axes, row, gains[model].get(name), color[model])
            axes.axvline(0, color=MUTED, linewidth=1)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.set_title(metric(name).title)
            axes.set_xlabel(f"gain over {FLOOR}" if not metric(name).unit else _gain_unit(name))
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(models)), models)
        panels[0].set_ylim(len(models) - 0.5, -0.5)
        return to_svg(figure, title)


def weights(members: Mapping[str, float], title: str) -> Markup:
    """Draw the weight of every member in a fusion."""
    color = colors(list(members))
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(NARROW, 0.75 + 0.3 * len(members))
        axes.barh(list(members), list(members.values()), height=0.6, color=[color[member] for member in members])
        for row, value in enumerate(members.values()):
            axes.text(value + 0.015, row, f"{value:.2f}", va="center")
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("weight (they sum to 1)")
        return to_svg(figure, title)


def calibration(bins: Sequence[CalibrationPoint], title: str) -> Markup:
    """Draw observed against predicted rates, with the number of rows behind each point."""
    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    with matplotlib.rc_context(STYLE):
        figure, (upper, lower) = make_panels(NARROW, 4.0, 2, sharex=True, height_ratios=[4, 1])
        top = max([*predicted, *observed, 0.01]) * 1.08
        upper.plot([0, top], [0, top], color=MUTED, linewidth=1, dashes=(4, 3), label="perfect")
        upper.plot(predicted, observed, color=SERIES[0], marker="o", markersize=4.5, label="fusion")
        upper.set_xlim(0, top)
        upper.set_ylim(0, top)
        upper.set_ylabel("observed share")
        upper.legend(loc="upper left")
        lower.bar(predicted, [b.rows for b in bins], width=top / 60, color=SERIES[0])
        lower.set_ylabel("rows")
        lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        lower.set_xlabel("predicted probability (mean of a bin)")
        for axes in (upper, lower):
            axes.tick_params(axis="y", labelcolor=MUTED)
        return to_svg(figure, title)


def learning_curve(curve: LearningCurve, best_round: int | None, title: str) -> Markup:
    """Draw a metric by boosting round, or another step, on train and tune, with the best step marked."""
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(NARROW, 2.9)
        for name, losses, color in (("train", curve.train, MUTED), ("tune", curve.tune, SERIES[0])):
            rounds, values = _thinned(losses)
            axes.plot(rounds, values, color=color, label=name)
        if best_round is not None and 1 <= best_round <= len(curve.tune):
            value = curve.tune[best_round - 1]
            axes.axvline(best_round, color=INK, linewidth=0.8, dashes=(3, 3))
            axes.plot([best_round], [value], color=SERIES[0], marker="o", markersize=5, label="_best")
            axes.set_title(f"best {curve.step.split()[-1]} {best_round:,}: {value:.4f}", loc="right", fontsize=8.5)
        shown = metric(curve.metric)
        _set_steps(axes, curve.step)
        axes.set_ylabel(f"{shown.title} ({shown.unit})" if shown.unit else shown.title)
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.legend(loc="best")
        return to_svg(figure, title)


def importance(
    shares: Sequence[tuple[str, float]], title: str, split: Sequence[tuple[str, float, float]] | None = None
) -> Markup:
    """Draw the most important features by their share of the total gain.

    Parameters
    ----------
    split
        Feature, share in the trees that all tasks share, share in the task's own: drawn instead, as two-tone bars.
    """
    top = [(name, share, 0.0) for name, share in shares[:_TOP_FEATURES]] if split is None else split[:_TOP_FEATURES]
    with matplotlib.rc_context(STYLE):
        figure, axes = _feature_axes([name for name, _, _ in top], legend=split is not None)
        shared = [share for _, share, _ in top]
        axes.barh(range(len(top)), shared, height=0.68, color=SERIES[0], label="shared trees")
        if split is not None:
            own = [share for _, _, share in top]
            axes.barh(range(len(top)), own, left=shared, height=0.68, color=SERIES[4], label="own trees")
            axes.legend(loc="lower right")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("share of the total gain")
        return to_svg(figure, title)


def effects(features: Sequence[FeatureEffect], unit: str, title: str, amount: str = "SHAP value") -> Markup:
    """Draw how far features move predictions (mean absolute SHAP value or another amount), colored by direction.

    Parameters
    ----------
    features
        The largest first.
    unit
        Unit of the amounts.
    amount
        What they are.
    """
    top = features[:_TOP_FEATURES]
    with matplotlib.rc_context(STYLE):
        figure, axes = _feature_axes([effect.feature for effect in top], legend=True)
        for words, color in _DIRECTIONS.items():
            rows = [row for row, effect in enumerate(top) if _direction(effect.direction) == words]
            if rows:  # a legend entry without bars would get a color that is not the page's
                axes.barh(rows, [top[row].mean_abs for row in rows], height=0.68, color=color, label=words)
        axes.legend(loc="lower right")
        axes.set_xlabel(f"mean absolute {amount} ({unit})")
        return to_svg(figure, title)


def conflict(cosines: Mapping[str, Sequence[float | None]], title: str, step: str = "boosting round") -> Markup:
    """Draw the cosine of two tasks' gradients by ``step``, as a running mean for each pair of tasks.

    Below zero, a step that helps one task harms the other. Of very many pairs, only those of the lowest mean get lines.
    """
    smooth = {pair.replace("|", " and "): _running_mean(values) for pair, values in cosines.items()}
    order = sorted(smooth, key=lambda pair: _mean(smooth[pair]))
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(WIDE, 3.0)
        axes.axhline(0, color=INK, linewidth=1)
        _lines(axes, {pair: smooth[pair] for pair in order})
        _set_steps(axes, step)
        axes.set_ylabel("cosine of gradients")
        return to_svg(figure, title)


def task_weights(weights: Mapping[str, Sequence[float | None]], title: str, step: str = "boosting round") -> Markup:
    """Draw each task's weight in what the tasks share by ``step``."""
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = make_panels(WIDE, 2.6)
        _lines(axes, {task: plain(values) for task, values in weights.items()})
        _set_steps(axes, step)
        axes.set_ylabel("weight")
        axes.set_ylim(0, 1.08 * max((w for values in weights.values() for w in values if w), default=1.0))
        return to_svg(figure, title)


def plain(values: Iterable[float | None]) -> list[float]:
    """Return numbers for drawing: NaN for what is unknown."""
    return [math.nan if value is None else value for value in values]


def day_number(text: str) -> float:
    """Return a day as matplotlib's number."""
    return float(date2num(date.fromisoformat(text)))


def _set_steps(axes: Axes, step: str) -> None:
    """Label a horizontal axis that counts steps."""
    axes.set_xlabel(step)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def _feature_axes(names: Sequence[str], *, legend: bool) -> tuple[Figure, Axes]:
    figure, (axes,) = make_panels(NARROW, (0.9 if legend else 0.75) + 0.2 * max(len(names), 4 if legend else 1))
    place, vertical, horizontal = axes.get_yaxis_text1_transform(_LABEL_PAD)
    for row, name in enumerate(names):  # a tick costs five artists, a text one
        text = _shortened(feature_title(name))
        axes.text(0, row, text, fontsize=7.8, transform=place, va=vertical, ha=horizontal)
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    return figure, axes


def _direction(correlation: float | None) -> str:
    if correlation is None or abs(correlation) < _NO_DIRECTION:
        return _UNCLEAR
    return _UP if correlation > 0 else _DOWN


def _lines(axes: Axes, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw the curves; of very many, draw the first ones and the range of the rest as a band."""
    color = (*SERIES, INK, MUTED)
    shown = len(curves) if len(curves) <= len(color) else len(SERIES)
    others = list(curves.values())[shown:]
    for number, (name, values) in enumerate(list(curves.items())[:shown]):
        axes.plot(*_thinned(values), color=color[number], label=name)
    if others:
        spans = [[value for value in values if not math.isnan(value)] for values in zip(*others, strict=True)]
        rounds, lowest = _thinned([min(span, default=math.nan) for span in spans])
        _, highest = _thinned([max(span, default=math.nan) for span in spans])
        label = f"range of {len(others)} others"
        axes.fill_between(rounds, lowest, highest, color=MUTED, alpha=0.2, linewidth=0, label=label)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.tick_params(axis="y", labelcolor=MUTED)


def _running_mean(values: Sequence[float | None]) -> list[float]:
    """Return the trailing mean over a twentieth of all rounds; NaN where a task had stopped."""
    width = max(1, len(values) // _SMOOTHING)
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    made, total = [math.nan] * len(values), 0.0
    for place, (index, value) in enumerate(known):
        total += value - (known[place - width][1] if place >= width else 0.0)
        made[index] = total / min(place + 1, width)
    return made


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.inf


def _label_beside(axes: Axes, row: int, text: str, span: tuple[float, float], limits: tuple[float, float]) -> None:
    """Write text beside a bar, on the side with more room."""
    gap = 0.008 * (limits[1] - limits[0])
    if span[0] - limits[0] > limits[1] - span[1]:
        axes.text(span[0] - gap, row, text, ha="right", va="center")
    else:
        axes.text(span[1] + gap, row, text, ha="left", va="center")


def _whisker(axes: Axes, row: int, difference: Measurement | None, color: str) -> None:
    if difference is None or difference.value is None:
        axes.text(0, row, " not computed", va="center", color=MUTED)
        return
    if difference.bounds is not None:
        axes.plot(difference.bounds, [row, row], color=color, linewidth=2)
    axes.plot([difference.value], [row], color=color, marker="o", markersize=5)


def _gain_unit(name: str) -> str:
    shown = metric(name)
    return f"gain over {FLOOR} ({shown.unit})" if shown.gain_unit else f"gain over {FLOOR}"


def _thinned(values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Keep at most a few hundred rounds: more cannot be seen, and each costs bytes."""
    step = max(1, -(-len(values) // _CURVE_POINTS))
    kept = [*range(0, len(values), step)]
    return [number + 1 for number in kept], [values[number] for number in kept]


def _shortened(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
