"""Which tests are slow: those that can reach a run of the pipeline, another process, a browser or Airflow.

The answer is read from the code of a test, of its fixtures and of the helpers in ``tests`` that they name. Tests that
only compute, but for seconds, are listed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "dags", "end_to_end", "plugins")
# Files and folders that take more than 4 CPU seconds, and single tests of files whose others are fast.
COSTLY = (
    "data/test_attribution.py",
    "data/test_interactions.py",
    "data/test_prior.py",
    "data/validation",
    "evaluation/test_gate.py",
    "evaluation/test_lists.py",
    "features/test_builder.py::test_no_change_at_or_after_a_rows_day_changes_its_features",
    "features/test_state.py",
    "metrics/test_bootstrap.py",
    "models/boosting/test_compiled.py",
    "models/boosting/test_device.py",
    "models/boosting/test_shared_trees.py",
    "models/deep",
    "models/test_calibration.py",
    "models/test_fusion.py",
    "onboarding/test_check.py",
    "pipeline/test_tuning.py",
    "recommend/rankers/test_choice.py",
    "recommend/test_candidates.py",
    "recommend/test_reranking.py",
    "recommend/test_training_lists.py",
    "report/test_page.py",
    "report/test_ranking.py",
    "report/test_report.py",
    "tuning/test_study.py",
)
MODULES = ("airflow", "distributed", "mtl_tasks.cli", "playwright", "subprocess")
_SINGLE = [place.partition("::") for place in COSTLY if "::" in place]
FUNCTIONS = ("run_pipeline", "run_stage", "shared_folder")


def is_slow(item: pytest.Item) -> bool:
    """Return whether a test is in a folder of slow tests, or its code reaches something slow."""
    if is_slow_throughout(item.path) or _is_costly(item):
        return True
    if not isinstance(item, pytest.Function):
        return False
    definitions = [one for found in item._fixtureinfo.name2fixturedefs.values() for one in found]
    return any(reaches_slow_code(function) for function in [item.function, *(one.func for one in definitions)])


def is_slow_throughout(path: Path) -> bool:
    """Return whether all tests of a file or folder are slow, whatever their code."""
    return any(path.is_relative_to(TESTS / place) for place in (*FOLDERS, *COSTLY))


def _is_costly(item: pytest.Item) -> bool:
    name = item.originalname if isinstance(item, pytest.Function) else item.name
    return any((str(item.path), name) == (str(TESTS / path), test) for path, _, test in _SINGLE)


@cache
def reaches_slow_code(function: Any) -> bool:
    """Return whether a function, or one of ``tests`` that it names, names something slow."""
    waiting, seen = [_plain(function)], set()
    while waiting:
        code = waiting.pop()
        if not isinstance(code, FunctionType) or code in seen:
            continue
        seen.add(code)
        for name, value in _named(code):
            if _is_slow_name(name, value):
                return True
            waiting.extend(_code_of(value))
    return False


def _plain(function: Any) -> Any:
    """Return the function below a property test, a fixture of a class, or another wrapper."""
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return getattr(function, "__wrapped__", getattr(function, "__func__", function))


@cache
def _names(code: CodeType) -> frozenset[str]:
    """Return the names in a function's code, its texts among them: ``getfixturevalue`` takes the name of a fixture."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    texts = (constant for constant in code.co_consts if isinstance(constant, str))
    return frozenset(code.co_names).union(texts, *inner)


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names in a function's code, with their values in its module and in modules of ``tests``."""
    names = _names(function.__code__)
    found = {name: function.__globals__.get(name) for name in names}
    lazy = (sys.modules.get(name) for name in names if name.startswith("tests."))
    for module in [*lazy, *found.values()]:
        if isinstance(module, ModuleType) and module.__name__.startswith("tests"):
            yield from ((name, getattr(module, name, None)) for name in names)
    yield from found.items()


def _is_slow_name(name: str, value: Any) -> bool:
    if name in FUNCTIONS:
        return True
    origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return any(text == module or text.startswith(f"{module}.") for text in (name, origin or "") for module in MODULES)


def _code_of(value: Any) -> list[Any]:
    """Return the functions of ``tests`` that a value is, or that the methods of a class are."""
    if isinstance(value, ModuleType) or not str(getattr(value, "__module__", "")).startswith("tests"):
        return []
    if isinstance(value, type):
        return [_plain(method) for method in vars(value).values()]
    return [_plain(value)]
