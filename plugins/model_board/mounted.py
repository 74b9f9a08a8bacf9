"""The board as Airflow mounts it; the first request imports it.

Every process of Airflow loads plugins, and the board takes 1.6 CPU seconds and 140 MB to import.
"""

from __future__ import annotations

import importlib
import logging
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX: Final = "/model-board"
APP: Final = "plugins.model_board.app"

log = logging.getLogger(__name__)


class MountedBoard:
    """An ASGI app that imports another one on the first request, and passes every request on to it.

    Parameters
    ----------
    module
        Module whose attribute ``app`` is the app.
    """

    def __init__(self, module: str = APP) -> None:
        self._module = module
        self._importing = Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; with 500 if the app cannot be imported, and the next request tries again."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import PlainTextResponse

        try:
            app = await run_in_threadpool(self._load) if self._app is None else self._app
        except Exception:
            log.exception("the model board cannot be imported")
            # The caller is not authenticated yet, so the page does not say why.
            app = PlainTextResponse(
                "The model board cannot be loaded: the log of Airflow's API server says why.\n", 500
            )
        await app(scope, receive, send)

    def _load(self) -> ASGIApp:
        """Import the app in one thread; concurrent requests wait for it."""
        with self._importing:
            if self._app is None:
                app: ASGIApp = importlib.import_module(self._module).app
                self._app = app
            return self._app
