"""matplotlib figures written as inline SVG whose colors are the page's CSS variables.

matplotlib draws in placeholder colors, which :func:`to_svg` replaces with ``var(--name)``: one drawing serves the light
and the dark page. Text stays text, so it is searchable and takes the page's font. The series colors are Okabe and Ito's
color-blind-safe palette ("Color Universal Design", 2008).

A figure is measured once and drawn once; ``savefig`` with the constrained layout does both twice.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES: Final = ("#010301", "#010302", "#010303", "#010304", "#010305", "#010306")
_VARIABLES: Final[dict[str, str]] = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    **{color: f"series-{number}" for number, color in enumerate(SERIES, start=1)},
}
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mtl_tasks",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # no chart has ticks above its panel that a title would have to avoid
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is no formula
    "xtick.bottom": False,  # the grid shows where a label belongs
    "ytick.left": False,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.5,
}
_POINTS: Final = 72  # an inch; the unit of an SVG's coordinates
_PIXELS: Final = 112  # an inch on the widest page
_PAD: Final = 3.0  # points around a panel with its labels
_ROOM: Final = {"left": 40.0, "right": 10.0, "bottom": 32.0, "top": 20.0}  # points for labels, until they are measured
Floats = npt.NDArray[np.float64]


class _Renderer(RendererSVG):
    """matplotlib's SVG renderer, with sizes of texts that all charts share."""

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        """Return the size of a text in points."""
        return _text_size(s, prop, ismath)


@lru_cache(maxsize=4096)
def _text_size(text: str, font: FontProperties, ismath: Any) -> tuple[float, float, float]:
    width, height, descent = text_to_path.get_text_width_height_descent(text, font, ismath)
    return width, height, descent


def make_panels(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, and its panels row by row.

    Parameters
    ----------
    options
        Passed to ``Figure.subplots``.
    """
    figure = Figure(figsize=(width, height), dpi=_POINTS)
    figure.subplots_adjust(
        left=_ROOM["left"] / figure.bbox.width,
        right=1 - _ROOM["right"] / figure.bbox.width,
        bottom=_ROOM["bottom"] / figure.bbox.height,
        top=1 - _ROOM["top"] / figure.bbox.height,
    )
    panels = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for patch in (figure.patch, *(axes.patch for axes in panels)):
        patch.set_visible(False)
    return figure, panels


def _arrange(figure: Figure, renderer: RendererSVG) -> None:
    """Place the panels so that their labels have room: measured once, as labels hardly depend on a panel's size."""
    grid = figure.axes[0].get_gridspec()
    assert grid is not None
    margins = np.array([_margins(axes, renderer) for axes in figure.axes]).reshape(grid.nrows, grid.ncols, 4)
    left, right, bottom, top = np.moveaxis(margins, 2, 0)
    legends = sum([legend.get_window_extent(renderer).width + 2 * _PAD for legend in figure.legends])
    width, height = figure.bbox.width, figure.bbox.height
    gap = max(0.0, (grid.wspace or 0.0) * width / grid.ncols - 2 * _PAD)
    columns = _spans(left.max(0), right.max(0), np.asarray(grid.get_width_ratios(), float), width - legends, gap)
    rows = _spans(top.max(1), bottom.max(1), np.asarray(grid.get_height_ratios(), float), height)
    for axes, ((y0, y1), (x0, x1)) in zip(figure.axes, product(rows, columns), strict=True):
        axes.set_position(Bbox.from_extents(x0 / width, 1 - y1 / height, x1 / width, 1 - y0 / height))


def _margins(axes: Axes, renderer: RendererSVG) -> tuple[float, float, float, float]:
    """Return the points that a panel's labels take on the left, on the right, below and above."""
    own, whole = axes.bbox, axes.get_tightbbox(renderer, for_layout_only=True)
    assert whole is not None
    return own.x0 - whole.x0, whole.x1 - own.x1, own.y0 - whole.y0, whole.y1 - own.y1


def _spans(before: Floats, after: Floats, shares: Floats, length: float, gap: float = 0.0) -> list[tuple[float, float]]:
    """Return start and end of each panel along an axis of a length; the panels have their shares of what is free."""
    free = length - float((before + after).sum()) - 2 * _PAD * len(before) - gap * (len(before) - 1)
    spans, place = [], 0.0
    for first, last, share in zip(before, after, shares, strict=True):
        start = place + _PAD + first
        spans.append((start, start + free * share / float(shares.sum())))
        place = spans[-1][1] + last + _PAD + gap
    return spans


def to_svg(figure: Figure, title: str) -> Markup:
    """Return the figure as an ``<svg>`` element for inlining: same figure, same bytes."""
    svg = _draw(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # several charts share a page, and nothing refers to these ids
    svg = re.sub(r"<[^>]*>", lambda tag: _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.1f}", tag[0]), svg)
    svg = re.sub(
        r" font-family: [^;\"]*;| transform=\"rotate\(-?0 [^\"]*\"", "", svg
    )  # use the page's font, and drop rotations by zero
    svg = _compact(re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", svg)))
    for color, name in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{name})")
    width = float(figure.get_figwidth()) * _PIXELS
    opening = (
        f'<svg role="img" aria-label="{escape(title)}" style="max-width:{width:.0f}px;min-width:{0.6 * width:.0f}px" '
    )
    box = re.search(r'viewBox="[^"]*"', svg)
    body = svg[svg.index(">") + 1 :]
    return Markup(f"{opening}{box[0] if box else ''} {_NAMESPACES}>{body.strip()}")  # noqa: S704


def _draw(figure: Figure) -> str:
    """Return the figure as matplotlib writes it."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    size = figure.bbox.size
    renderer = _Renderer(*size, buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    _arrange(figure, renderer)
    figure.draw(renderer)
    renderer.finalize()  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _compact(svg: str) -> str:
    """Drop what is not seen: invisible frames, groups of one element, defaults, and needless spaces."""
    svg = re.sub(r'<path d="[^"]*" style="fill: none"/>|; stroke-linecap: square|<defs></defs>', "", svg)
    svg = re.sub(r'(?<=style=")[^"]*', lambda style: re.sub(r"([:;]) ", r"\1", style[0]), svg)
    svg = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r" ?([MLCQz]) ?", r"\1", path[0]).rstrip(), svg)
    svg = re.sub(r"(\d)\.0(?=[^\d])", r"\1", svg)
    while (shorter := _GROUP_OF_ONE.sub(r"\1", svg)) != svg:
        svg = shorter
    return svg


_GROUP_OF_ONE = re.compile(r"<g>((?:<(?:path|use|text)\b[^>]*(?:/>|>[^<]*</text>))?)</g>")
_LONG_NUMBER = re.compile(r"\d+\.\d{2,}")
_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
