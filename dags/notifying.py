"""Notifiers of the outcome of a run, to the targets of the scenario's section `notify`.

A target that fails is a warning in the log, once, without secrets, and never fails the run. Runs of a backfill
send no messages: there may be hundreds.
"""

import html
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseNotifier
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException

from dags.alerts import UNSAID
from dags.docs import board_address
from dags.stage_tasks import in_project, run_spec, store_key, store_uri
from mtl_tasks.core.errors import MtlError
from mtl_tasks.scenario import NotifyTarget, Scenario

log = logging.getLogger(__name__)


class OutcomeNotifier(BaseNotifier):
    """Sends the notice of a run to every target of the scenario; never raises.

    Parameters
    ----------
    find
        Returns the notice of a context, or None if there is nothing to tell.
    """

    def __init__(self, scenario: Scenario, find: Callable[[Scenario, Any], Any]) -> None:
        super().__init__()
        self.scenario, self.find = scenario, find

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Render nothing: there is no template, and the DAG in the context of `dag.test` has no environment for any."""

    def notify(self, context: Any) -> None:
        """Send the notice, if there is one."""
        if self.scenario.notify is None or _of_backfill(context):
            return
        try:
            notice = self.find(self.scenario, context)
        except Exception as error:  # noqa: BLE001 - a message that cannot be written must not fail the run
            log.warning("notify: no message is sent, as the outcome cannot be read (%s)", _cause(error))
            return
        for target in self.scenario.notify.to if notice is not None else ():
            _attempt(target, notice)


def on_verdict(scenario: Scenario) -> list[Callable[[Any], None]]:
    """Return the notifiers of a task that comes after the verdict and whose first argument is the run's results."""
    return _if_asked(scenario, _of_results)


def on_question(scenario: Scenario) -> list[Callable[[Any], None]]:
    """Return the notifiers of the task that asks for approval."""
    return _if_asked(scenario, _of_question)


def on_failure(scenario: Scenario) -> list[Callable[[Any], None]]:
    """Return the notifiers of a DAG's failed runs."""
    return _if_asked(scenario, _of_failure)


def _if_asked(scenario: Scenario, find: Callable[[Scenario, Any], Any]) -> list[Callable[[Any], None]]:
    if scenario.notify is None:
        return []
    scenario.notify.check_installed(scenario.file)
    return [OutcomeNotifier(scenario, find)]


def _of_backfill(context: Any) -> bool:
    run = context.get("dag_run")
    return run is not None and run.run_type == "backfill"


def _of_results(scenario: Scenario, context: Any) -> Any:
    return _verdict(scenario, context, context["task"].op_args[0])


def _of_question(scenario: Scenario, context: Any) -> Any:
    return _verdict(scenario, context, context["task"].results)


def _verdict(scenario: Scenario, context: Any, results: Any) -> Any:
    with in_project():
        from mtl_tasks.pipeline.documents import UpstreamResults
        from mtl_tasks.pipeline.notices import verdict_notice

        return verdict_notice(
            run_spec(context), UpstreamResults.from_json(results), scenario, board_address(), store_key()
        )


def _of_failure(scenario: Scenario, context: Any) -> Any:
    with in_project():
        from mtl_tasks.core.days import AsOf
        from mtl_tasks.pipeline.notices import failure_notice

        ti, run = context.get("ti"), context.get("dag_run")
        spec = None if ti is None else ti.xcom_pull(task_ids="resolve", key="run_spec")
        # A run that failed before its as_of was resolved is as of the day on which it was due.
        as_of = AsOf.parse(spec["as_of"]) if spec else AsOf.of(run.data_interval_end or run.run_after)
        return failure_notice(scenario, as_of, store_uri(), _fault(context), _page(run), store_key())


def _fault(context: Any) -> str:
    """Return the failed task, and its fault and next step, which `dags/alerts.py` has pushed."""
    ti = context.get("ti")
    if ti is None:
        return str(context.get("reason", UNSAID))
    index = -1 if ti.map_index is None else ti.map_index
    fault = ti.xcom_pull(task_ids=ti.task_id, map_indexes=index, key="fault")
    return f"{ti.task_id}: {fault or UNSAID}"


def _page(run: Any) -> str:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base}/dags/{run.dag_id}/runs/{quote(run.run_id)}"


def _attempt(target: NotifyTarget, notice: Any) -> None:
    kind, connection = _named(target)
    try:
        # Not called, as that would render the message as a template, and log the error with what it quotes.
        _notifier(target, notice).notify({})
    except Exception as error:  # noqa: BLE001 - whatever a provider raises must not fail the run
        log.warning(
            "notify: no message to %s by the connection %s: %s; the run is not affected. See that the connection "
            "(Admin, Connections) is right and its server answers",
            kind,
            connection,
            _cause(error),
        )
    else:
        log.info("notify: sent to %s by the connection %s: %s", kind, connection, ", ".join(notice.outcomes))


def _named(target: NotifyTarget) -> tuple[str, str]:
    kind, chosen = next((kind, chosen) for kind, chosen in target if chosen is not None)
    return kind, chosen.connection


def _notifier(target: NotifyTarget, notice: Any) -> Any:
    if target.smtp is not None:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        body = html.escape(notice.text).replace("\n", "<br>\n")
        mail = target.smtp
        return SmtpNotifier(to=list(mail.to), subject=notice.subject, html_content=body, smtp_conn_id=mail.connection)
    if target.slack is not None:
        from airflow.providers.slack.notifications.slack import SlackNotifier

        slack = target.slack
        text = html.escape(notice.text, quote=False)  # Slack reads <…> as a link or as a call to everybody
        # By default the client sends a message again whose answer was cut off: the channel may then have it twice.
        return SlackNotifier(slack_conn_id=slack.connection, text=text, channel=slack.channel, retry_handlers=[])
    from dags.webhooks import WebhookNotifier

    assert target.webhook is not None
    return WebhookNotifier(target.webhook.connection, notice.to_json())


def _cause(error: Exception) -> str:
    """Return the project's own error; of others the type, as what they say may quote a URL or a password."""
    if isinstance(error, MtlError):
        return str(error)
    if isinstance(error, AirflowNotFoundException):
        return "there is no such connection"
    return type(error).__name__
