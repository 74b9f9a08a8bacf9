"""The section `notify`: recipients of messages on the outcome of a run, and which outcomes they report."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario.base import Days, Line, Model

Outcome = Literal["rejected", "promoted", "awaits_approval", "failed", "stale_champion"]
SMTP_PACKAGE: Final = "apache-airflow-providers-smtp"
SLACK_PACKAGE: Final = "apache-airflow-providers-slack"
Connection = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.-]+$")]
_CONNECTION: Final = "id of an Airflow connection"


def _several(addresses: Any) -> Any:
    return (addresses,) if isinstance(addresses, str) else addresses


class MailTarget(Model):
    """Recipients of an e-mail."""

    to: Annotated[tuple[Line, ...], Field(min_length=1, max_length=50), BeforeValidator(_several)] = Field(
        description="an address, or several"
    )
    connection: Connection = Field(
        default="smtp_default", description=f"{_CONNECTION} of type smtp; its `from_email` is the sender"
    )

    @field_validator("to")
    @classmethod
    def _addresses(cls, to: tuple[str, ...]) -> tuple[str, ...]:
        for address in to:
            if "@" not in address.strip("@") or any(character in address for character in " ,;<>"):
                raise ValueError("each entry must be one plain address such as team@example.com")
        return to


class WebhookTarget(Model):
    """A URL that takes a JSON document by POST."""

    connection: Connection = Field(
        description=f"{_CONNECTION} of type http: `host` is the URL, which may hold a token; a login and password are "
        "sent as basic authentication, `headers` in `extra` as headers"
    )


class SlackTarget(Model):
    """A channel in Slack; needs the package apache-airflow-providers-slack."""

    channel: Line = Field(description="name or id of the channel")
    connection: Connection = Field(default="slack_api_default", description=f"{_CONNECTION} of type slack")


class NotifyTarget(Model):
    """A recipient of messages."""

    smtp: MailTarget | None = Field(default=None, description="e-mail; give exactly one of `smtp`, `webhook`, `slack`")
    webhook: WebhookTarget | None = Field(default=None, description="a URL that takes JSON")
    slack: SlackTarget | None = Field(default=None, description="a channel in Slack")

    @model_validator(mode="after")
    def _one(self) -> NotifyTarget:
        if len([target for target in (self.smtp, self.webhook, self.slack) if target is not None]) != 1:
            raise ValueError("give exactly one of `smtp`, `webhook` and `slack`; `to` is a list with an entry for each")
        return self


class Notify(Model):
    """Messages on the outcome of a run in Airflow."""

    outcomes: tuple[Outcome, ...] = Field(
        min_length=1,
        description="outcomes that are reported: rejected (by the gate or an approver), promoted, awaits_approval, "
        "failed (of any DAG of the scenario), stale_champion",
    )
    to: tuple[NotifyTarget, ...] = Field(min_length=1, max_length=20, description="recipients of every message")
    stale_days: Days = Field(
        default=7, description="days from the champion's as_of to that of a finished run from which it is stale"
    )

    @field_validator("outcomes")
    @classmethod
    def _once(cls, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        for outcome in outcomes:
            if outcomes.count(outcome) > 1:
                raise ValueError(f"{outcome!r} is duplicated: list each outcome once")
        return outcomes

    def check_installed(self, place: str) -> None:
        """Refuse a target whose provider of Airflow is not installed.

        Parameters
        ----------
        place
            The scenario's file, for the message.

        Raises
        ------
        ConfigError
            If there is one; the message names the command that installs it.
        """
        needed = {"smtp": SMTP_PACKAGE, "slack": SLACK_PACKAGE}
        for number, target in enumerate(self.to):
            for kind, package in needed.items():
                if getattr(target, kind) is not None and not _installed(package):
                    raise ConfigError(
                        f"{place}: notify.to.{number}.{kind} needs {package}, which is not installed: run "
                        f"`.venv/bin/python -m pip install {package}` where Airflow runs, or remove the target"
                    )


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
