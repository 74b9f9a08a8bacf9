"""A formula is plain arithmetic over tasks and is refused when the scenario loads where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import Formula
from tests.support.logs import tiny_scenario

TASKS = ["like", "rating", "purchase"]


@pytest.mark.parametrize(
    ("formula", "tasks", "expected"),
    [
        ("purchase", ("purchase",), [0.5, 0.25]),
        ("purchase * rating", ("purchase", "rating"), [2.0, 0.5]),
        ("2 * rating ** 2 - purchase / 4", ("purchase", "rating"), [31.875, 7.9375]),
        ("-purchase ** -1", ("purchase",), [-2.0, -4.0]),
        ("rating ** .5 + 3 - -1", ("rating",), [6.0, 4 + 2**0.5]),
        ("  (rating +\n purchase)\n", ("purchase", "rating"), [4.5, 2.25]),
        ("rating ** purchase", ("purchase", "rating"), [2.0, 2**0.25]),
        ("like * 10 ** 2", ("like",), [0.0, 100.0]),
    ],
)
def test_a_formula_is_evaluated_as_arithmetic(formula: str, tasks: tuple[str, ...], expected: list[float]) -> None:
    parsed = Formula.parse(formula, TASKS)
    values = {"like": [0.0, 1.0], "rating": [4.0, 2.0], "purchase": [0.5, 0.25]}
    assert parsed.tasks == tasks
    assert parsed.evaluate({name: np.array(part) for name, part in values.items()}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("like ** 9 ** 9 ** 9", r"the exponent 3.8742e\+08 is not between -10 and 10"),
        ("like ** -99", "the exponent -99 is not between -10 and 10"),
        ("like * 9 ** 9 ** 9", "the exponent 3.8742e"),
        ("like + 10 ** 10 ** 1 * 1e300 * 1e300", "a part of it is inf, which is not a finite number"),
        ("like + 1e999", "a part of it is inf"),
        ("like + (-1) ** .5", "which is not a finite number"),
        ("like / (1 - 1)", "nothing can be divided by 0"),
        (f"like * 0x{'f' * 400}", "int too large to convert to float"),
        (f"like * 1{'0' * 480}", "too large to convert to float"),
        (f"{'(' * 240}like{')' * 240}", "is not a formula: too many nested parentheses"),
        (f"{'-' * 400}like", "more than 100 operations within each other"),
        ("+".join(["like"] * 99), None),
        ("+".join(["like"] * 101), "a formula has at most 500 characters, this one has 504"),
        ("like\x00", "is not a formula"),
        ("", "is not a formula"),
        ("like +", "is not a formula"),
        ("like.real", "only [+] - [*] / [*][*] over task names and numbers is allowed"),
        ("True * like", "only [+] - "),
        ("like if like else like", "only [+] - "),
        ("__import__('os')", "only [+] - "),
        ("lik", "unknown task 'lik', did you mean 'like'[?]"),
        ("1 + 1", "names no task [(]known: rating, like, purchase[)]"),
    ],
)
def test_a_formula_out_of_bounds_is_refused_when_the_scenario_loads(formula: str, message: str | None) -> None:
    if message is None:
        assert tiny_scenario(recommend={"utility": formula}).formula.tasks == ("like",)
        return
    with pytest.raises(ConfigError, match=rf"tiny.yaml: recommend.utility: .*{message}") as caught:
        tiny_scenario(recommend={"utility": formula})
    assert len(str(caught.value)) < 300
