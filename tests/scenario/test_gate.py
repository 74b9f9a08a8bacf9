"""The approvers that a scenario file names."""

from __future__ import annotations

from typing import Any

import pytest

from mtl_tasks.core.errors import ConfigError
from tests.support.logs import tiny_scenario


def test_anybody_may_approve_unless_somebody_is_named() -> None:
    assert tiny_scenario().gate.approvers == ()
    assert tiny_scenario(gate={"approvers": [" ada ", "7"]}).gate.approvers == ("ada", "7")


@pytest.mark.parametrize("approvers", ["ada", [""], ["  "], [7], [None], {"ada": 1}])
def test_what_names_nobody_is_refused(approvers: Any) -> None:
    with pytest.raises(ConfigError, match=r"gate\.approvers"):
        tiny_scenario(gate={"approvers": approvers})
