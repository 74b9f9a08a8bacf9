"""The formula `recommend.utility`: arithmetic over task names, checked when the scenario loads."""

from __future__ import annotations

import ast
import math
import operator
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mtl_tasks.core.errors import nearest

LONGEST: Final = 500  # characters
DEEPEST: Final = 100  # operations within each other: a sum of 100 tasks, far from Python's own limit
GREATEST_EXPONENT: Final = 10
_OPERATIONS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


@dataclass(frozen=True)
class Formula:
    """Arithmetic over some tasks of a scenario.

    Attributes
    ----------
    tasks
        Those that it names, sorted.
    """

    tasks: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, tasks: list[str]) -> Formula:
        """Read a formula.

        Raises
        ------
        ValueError
            If it is too long or deep, is not plain arithmetic over the tasks, or a number in it is out of bounds.
        """
        if len(text) > LONGEST:
            raise ValueError(f"a formula has at most {LONGEST} characters, this one has {len(text):,}")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
            raise ValueError(f"{reprlib.repr(text)} is not a formula: {why}") from None
        used: set[str] = set()
        try:
            _constant(tree, tasks, used, DEEPEST)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"{reprlib.repr(text)}: {error}") from None
        if not used:
            raise ValueError(f"{reprlib.repr(text)} names no task (known: {', '.join(tasks)})")
        return cls(tuple(sorted(used)), tree)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Return the formula's value, given a number or a float64 array for each of its tasks."""
        return _evaluate(self._tree, values)


def _constant(node: ast.expr, tasks: list[str], used: set[str], depth: int) -> float | None:
    """Return the value of a part without a task in it, and note the tasks of the others."""
    if depth == 0:
        raise ValueError(f"more than {DEEPEST} operations within each other")
    if isinstance(node, ast.Name):
        if node.id not in tasks:
            raise ValueError(f"unknown task {node.id!r}{nearest(node.id, tasks)}")
        used.add(node.id)
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _finite(float(node.value))
    operands = [_constant(part, tasks, used, depth - 1) for part in _operands(node)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and abs(operands[1] or 0) > GREATEST_EXPONENT:
        raise ValueError(f"the exponent {operands[1]:g} is not between -{GREATEST_EXPONENT} and {GREATEST_EXPONENT}")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and operands[1] == 0:
        raise ValueError("nothing can be divided by 0")
    return None if None in operands else _finite(_OPERATIONS[type(node.op)](*operands))  # type: ignore[attr-defined]


def _operands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
        return [node.operand]
    raise ValueError("only + - * / ** over task names and numbers is allowed")


def _finite(value: Any) -> float:
    if isinstance(value, complex) or not math.isfinite(value):
        raise ValueError(f"a part of it is {value:g}, which is not a finite number")
    return float(value)


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        return node.value
    assert isinstance(node, ast.BinOp | ast.UnaryOp)
    return _OPERATIONS[type(node.op)](*(_evaluate(part, values) for part in _operands(node)))
