"""The HTML report of a run: one self-contained file that explains the verdict and works offline."""

from mtl_tasks.report.document import RunDocument

__all__ = ["RunDocument", "render_report"]


def render_report(result: RunDocument) -> str:
    """Return the run's report as one self-contained HTML page.

    Equal documents give equal bytes: the page contains no timestamp and no random id.
    """
    # matplotlib takes a second to import; callers that need only a RunDocument should not pay for it.
    from mtl_tasks.report.page import render

    return render(result)
