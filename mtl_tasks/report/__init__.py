"""The page that a run leaves behind: one HTML file that explains the verdict and works offline."""

from mtl_tasks.report.document import RunDocument

__all__ = ["RunDocument", "render_report"]


def render_report(result: RunDocument) -> str:
    """Return the run's report as one self-contained HTML page.

    Equal documents give equal bytes: the page holds no time of its making and no random id.
    """
    # matplotlib takes a second to import, and whoever wants only a RunDocument should not pay for it.
    from mtl_tasks.report.page import render

    return render(result)
