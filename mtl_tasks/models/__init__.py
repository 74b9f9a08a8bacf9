"""The model family: every member predicts every task of a scenario."""

from mtl_tasks.models.member import Member, Predictions, Table
from mtl_tasks.scenario import MemberKind

__all__ = ["Member", "Predictions", "Table", "member_class"]


def member_class(kind: MemberKind) -> type[Member]:
    """Return the class of a member kind."""
    from mtl_tasks.models.baselines import AlsMember, PopularityMember
    from mtl_tasks.models.cascade import CascadeMember  # LightGBM takes seconds to import
    from mtl_tasks.models.deep.member import DeepMember
    from mtl_tasks.models.independent import IndependentMember
    from mtl_tasks.models.linear import LinearMember
    from mtl_tasks.models.shared import SharedMember
    from mtl_tasks.models.shared_tail import SharedTailMember

    known: dict[MemberKind, type[Member]] = {
        "popularity": PopularityMember,
        "als": AlsMember,
        "linear": LinearMember,
        "independent": IndependentMember,
        "cascade": CascadeMember,
        "shared": SharedMember,
        "shared_tail": SharedTailMember,
        "deep": DeepMember,
    }
    return known[kind]
