"""The question whether a run that passed the gate may be promoted, and the record of who answered."""

from typing import Any

# The one import that is not of airflow.sdk: people are asked by this operator of the standard provider.
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

from dags.stage_tasks import asked, in_project, store_key


class PromotionApproval(ApprovalOperator):
    """Asks if approval is required, and records the answer in the registry; no answer in time is a no.

    Whom `gate.approvers` names may answer, or anybody where it names nobody. If the run is decided in the registry
    while the question waits, that decision stands, and what follows goes by it.

    Parameters
    ----------
    handed
        Results of the stages ``gate`` and ``publish``.
    """

    template_fields = (*ApprovalOperator.template_fields, "handed")

    def __init__(self, *, handed: list[Any], **kwargs: Any) -> None:
        super().__init__(defaults=ApprovalOperator.REJECT, **kwargs)
        self.handed = handed

    def execute(self, context: Any) -> Any:
        """Put the verdict before people, or skip if nobody need be asked."""
        with in_project():
            from mtl_tasks.pipeline.outcome import approvers, awaits_approval, verdict_markdown

            if not awaits_approval(asked(), self.handed, store_key()):
                raise AirflowSkipException("nobody need be asked: the run was rejected, or needs no approval")
            self.body = verdict_markdown(asked(), self.handed, store_key())
            self.assigned_users = [{"id": user, "name": user} for user in approvers(asked())] or None
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record the answer, then go on or skip what follows."""
        if "error" not in event:
            with in_project():
                from mtl_tasks.pipeline.outcome import record_answer

                user = event["responded_by_user"] or {}
                answer = record_answer(
                    asked(),
                    self.handed,
                    approved=event["chosen_options"] == [self.APPROVE],
                    by=user.get("name"),
                    user_id=user.get("id"),
                    at=event["responded_at"].isoformat(timespec="seconds"),
                    key=store_key(),
                )
            self.log.info("%s", answer.said)
            event = {**event, "chosen_options": [self.APPROVE if answer.promoted else self.REJECT]}
        return super().execute_complete(context, event)
