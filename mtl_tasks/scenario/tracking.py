"""The section `tracking`: servers that a run's parameters, metrics and outcome are written to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from mtl_tasks.scenario.base import Line, Model

_Name = Annotated[Line, Field(max_length=200, pattern=r"^[^/:'\"`]+$")]  # MLflow refuses a model's name with / or :


class MlflowTarget(Model):
    """An MLflow server; the token or password is read from MLflow's own environment variables."""

    uri: Annotated[Line, Field(max_length=2000)] = Field(
        description="tracking URI such as https://mlflow.example.com, without a user, a password or a query"
    )
    experiment: _Name | None = Field(default=None, description="name of the experiment; null: that of the scenario")
    model: _Name | None = Field(
        default=None, description="name of the registered model whose alias is moved; null: that of the scenario"
    )

    @field_validator("uri")
    @classmethod
    def _without_secret(cls, uri: str) -> str:
        if any(mark in uri for mark in "@?#"):
            raise ValueError(
                "must have no user, password or query: set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, in the environment"
            )
        return uri


class Tracking(Model):
    """Servers that finished runs are written to; each is optional."""

    mlflow: MlflowTarget | None = Field(default=None, description="an MLflow server")

    @property
    def active(self) -> bool:
        """Whether there is a server."""
        return self.mlflow is not None
