"""Approval of a run that passed the gate, and the record of who answered."""

from typing import Any

# The one import that is not from airflow.sdk: the operator that asks for approval is in the standard provider.
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

from dags.docs import board_address
from dags.stage_tasks import in_project, run_spec, store_key


class PromotionApproval(ApprovalOperator):
    """Asks for approval if it is required, and records the answer; a missing answer counts as a rejection.

    Only users in `gate.approvers` may answer, or anybody if it is empty. If the run is decided in the registry in the
    meantime, that decision counts, also for the tasks that follow.

    Parameters
    ----------
    results
        Results of the stages ``gate`` and ``publish``.
    """

    template_fields = (*ApprovalOperator.template_fields, "results")

    def __init__(self, *, results: list[Any], **kwargs: Any) -> None:
        super().__init__(defaults=ApprovalOperator.REJECT, **kwargs)
        self.results = results

    def execute(self, context: Any) -> Any:
        """Ask for approval of the verdict, or skip if approval is not required."""
        with in_project():
            from mtl_tasks.pipeline.approval_form import approval_form
            from mtl_tasks.pipeline.documents import UpstreamResults
            from mtl_tasks.pipeline.outcome import approvers, awaits_approval

            spec, results = run_spec(), UpstreamResults.from_json(self.results)
            if not awaits_approval(spec, results, store_key()):
                raise AirflowSkipException("approval not required: the run was rejected, or needs no approval")
            self.body = approval_form(spec, results, board_address(), store_key())
            self.assigned_users = [{"id": user, "name": user} for user in approvers(spec)] or None
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record the answer, then continue or skip the tasks that follow."""
        if "error" not in event:
            with in_project():
                from mtl_tasks.pipeline.documents import UpstreamResults
                from mtl_tasks.pipeline.outcome import record_answer

                user = event["responded_by_user"] or {}
                answer = record_answer(
                    run_spec(),
                    UpstreamResults.from_json(self.results),
                    approved=event["chosen_options"] == [self.APPROVE],
                    by=user.get("name"),
                    user_id=user.get("id"),
                    at=event["responded_at"].isoformat(timespec="seconds"),
                    key=store_key(),
                )
            self.log.info("%s", answer.message)
            event = {**event, "chosen_options": [self.APPROVE if answer.promoted else self.REJECT]}
        return super().execute_complete(context, event)
