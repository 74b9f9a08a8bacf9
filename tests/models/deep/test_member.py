"""The deep member keeps the contract."""

from __future__ import annotations

from tests.contracts.member import MemberContract


class TestDeep(MemberContract):
    kind = "deep"
    needed = "taste.dot"
