"""Every fault and bad input of the list has a test that is marked with its number: ``make test ARGS="-m faults"``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
FAULTS: Final = {
    1: "training is killed and started again: the same manifests, and nothing twice",
    2: "killed between writing files and publishing them: the old champion stays, the next run completes",
    3: "killed while publishing: the old champion or the new one, never none",
    4: "a finished stage is run again: nothing happens, or the same bytes come out",
    5: "a backfill of an older date has better metrics: it enters the history, the champion stays",
    6: "a backfill with three active runs: what one date after the other gives",
    7: "runs are promoted at once: all are recorded, and one is champion to everybody",
    8: "a backfill of five dates: nobody is told unless today's champion changes",
    9: "a run by hand without a logical date: a rule gives its as_of, and the log says which",
    10: "an unknown key, a wrong type, a path, a command or NaN in the configuration: refused by name before any work",
    11: "as_of in the future: refused",
    12: "events after as_of in the input: left out, and the factors stay as they are",
    13: "a missing column or a wrong type in the log: fails at once and is not tried again",
    14: "few bad rows are set aside with reasons, many stop the run",
    15: "doubles, ratings out of range, mixed time zones, a clock change: each by its rule",
    16: "an empty day, one user, one item, no purchase: refused or constant, never a NaN score",
    17: "a user or an item that only the test window has: scored all the same, and counted",
    18: "factors that are NaN or infinite: the stage fails",
    19: "no champion yet: absolute rules apply, and the verdict says first",
    20: "a gate without rules: rejects, and the verdict is kept",
    21: "purchase better by 5 %, rating worse by 5 %: rejected, and both are said",
    22: "a difference within noise: judged by the rule, and stated with its interval",
    23: "a champion that is damaged or of an older form: not used, and named",
    24: "a flipped bit in a model, factors or a manifest: refused before it is parsed",
    25: "a pickle for arrays, a link, a way out of the folder: refused, and no code runs",
    26: "a LightGBM text that is too long or cut short: refused by its size or hash",
    27: "no GPU, no OpenCL, a GPU that fails at work: refused or replaced as declared, and recorded",
    28: "a GPU and the processor: metrics agree within a tolerance",
    29: "a full disk or one that is read-only: nothing half-written is visible",
    30: "approval by nobody, a no, the wrong user: not promoted, and recorded",
    31: "rollback to a run that is missing or damaged: refused",
    32: "the board without a login, with a path for a name, with markup in a run id: refused or escaped",
    33: "the DAG files are parsed without a network: no connection, process, write or heavy import",
    34: "the containers without secrets: nothing starts, and none has a default",
    35: "a secret of the environment: in no log, XCom, artifact or report",
    36: "Great Expectations without a network: asks nothing of it",
}


def test_every_fault_of_the_list_has_a_test_and_every_mark_is_of_one() -> None:
    marked = list(marked_tests())
    named = {number for _, numbers in marked for number in numbers}
    assert {number: FAULTS.get(number, "?") for number in named ^ set(FAULTS)} == {}
    assert [name for name, numbers in marked if not numbers or not name.startswith("test_")] == []


def marked_tests() -> Iterator[tuple[str, list[int]]]:
    """Yield the name of every function that has the mark, with its numbers."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in getattr(node, "decorator_list", []):
                if ast.unparse(mark).startswith("pytest.mark.faults"):
                    numbers = mark.args if isinstance(mark, ast.Call) else []
                    yield node.name, [ast.literal_eval(number) for number in numbers]
