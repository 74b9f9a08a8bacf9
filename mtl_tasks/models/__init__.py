"""The model family: every member predicts every task of a scenario."""

from importlib import import_module

from mtl_tasks.models.member import Member, Predictions, Table
from mtl_tasks.scenario import MEMBERS, MemberKind

__all__ = ["Member", "Predictions", "Table", "member_class"]


def member_class(kind: MemberKind) -> type[Member]:
    """Return the class of a member kind; its module is imported now, since LightGBM takes seconds."""
    module, name = MEMBERS[kind].implementation.split(":")
    found: type[Member] = getattr(import_module(f"{__name__}.{module}"), name)
    return found
