"""A device that is not there is refused by the name of its setting, or replaced aloud."""

from __future__ import annotations

import pytest

from mtl_tasks.boosting import trees
from mtl_tasks.errors import ConfigError


@pytest.fixture
def without_gpu() -> None:
    if trees._gpu_problem() is None:
        pytest.skip("this machine has an OpenCL device")


def test_cpu_is_taken_as_asked(caplog: pytest.LogCaptureFixture) -> None:
    assert trees.resolve_device("cpu") == "cpu"
    assert not caplog.records


@pytest.mark.usefixtures("without_gpu")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"boosting\.device: 'gpu' was asked for but LightGBM cannot use it here"
    ) as caught:
        trees.resolve_device("gpu")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("without_gpu")
def test_auto_falls_back_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert trees.resolve_device("auto") == "cpu"
    assert "trees grow on the CPU" in caplog.text
