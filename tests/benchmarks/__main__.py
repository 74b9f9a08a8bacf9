"""Run the benchmarks: ``python -m tests.benchmarks [SECTION ...]``, films by default."""

import os

# Threads that spin while they wait cost other processes on the machine their time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from mtl_tasks.core.errors import MtlError
from tests.benchmarks import (
    board,
    boosting,
    candidates,
    compress,
    counts,
    data,
    deep,
    devices,
    films,
    fusion,
    rankers,
    regret,
    scenarios,
    scoring,
    strategies,
    text,
    transfer,
    tuning,
)
from tests.benchmarks.output import FOLDER, BenchmarkResult, Output, make_result

SECTIONS = (
    "films",
    "boosting",
    "transfer",
    "data",
    "scenarios",
    "rankers",
    "fusion",
    "regret",
    "deep",
    "board",
    "device",
    "scoring",
    "candidates",
    "text",
    "tuning",
    "compress",
    "strategies",
    "counts",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=f"{', '.join(SECTIONS)}; films by default")
    parser.add_argument("--dates", nargs="+", default=list(films.DATES), metavar="YYYY-MM-DD", help="of films")
    parser.add_argument(
        "--store",
        default=".bench/store",
        help="of films, transfer, scenarios, rankers, fusion, regret, scoring, candidates, text, deep, compress and "
        "strategies",
    )
    parser.add_argument("--events", nargs="+", type=int, default=[100_000, 1_000_000], help="of data; up to 10000000")
    parser.add_argument("--until", default="recommend", metavar="STAGE", help="of data: the last stage to run")
    parser.add_argument(
        "--then-until", metavar="STAGE", help="of data: that of the next day's run; by default the same"
    )
    parser.add_argument("--runs", type=int, default=1000, help="of board")
    parser.add_argument("--accept", action="store_true", help="of counts: make the counts found the expected ones")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help=f"print the tables of a file of {FOLDER}")
    group = parser.add_argument_group("boosting")
    group.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="KEY=PATTERN",
        help="run a part: key is problem, method, seed or size; may be given again; of deep: problem is a scenario",
    )
    group.add_argument("--full", action="store_true", help="every problem, method and seed: hours")
    group.add_argument("--fresh", action="store_true", help="fit again what was fitted before")
    group.add_argument("--jobs", type=int, default=2, help="fits at a time (default 2)")
    group.add_argument("--threads", type=int, default=1, help="threads of a fit (default 1)")
    group = parser.add_argument_group("device")
    group.add_argument(
        "--rows",
        nargs="+",
        type=int,
        default=[100_000],
        help="rows to learn from or to score (default 100000)",
    )
    group.add_argument("--kinds", nargs="+", choices=devices.KINDS, default=list(devices.KINDS), help="members; all")
    group.add_argument("--on", nargs="+", default=[], metavar="DEVICE", help="cpu:THREADS, gpu, cuda; those there are")
    group = parser.add_argument_group("tuning")
    group.add_argument("--tune", nargs="+", choices=tuning.CASES, default=list(tuning.CASES), help="scenarios; all")
    group.add_argument("--trials", type=int, default=20, help="of a study (default 20)")
    group = parser.add_argument_group("strategies")
    group.add_argument(
        "--days",
        nargs="+",
        default=[],
        metavar="SCENARIO=YYYY-MM-DD",
        help="as of which days; of regret and rankers too",
    )
    group.add_argument("--seeds", type=int, help="boosted models that are averaged; those of the scenario by default")
    group.add_argument(
        "--age", type=int, default=7, help="days by which the champion to warm-start from is older (default 7)"
    )
    group.add_argument("--source", metavar="SCENARIO", help="warm-start from the champion of this scenario too")
    return parser


def main(given: Sequence[str] | None = None) -> None:
    """Run the sections that are named, each with a JSON file of its tables."""
    given = sys.argv[1:] if given is None else given
    parser = _parser()
    arguments = parser.parse_args(given)
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}: choose from {', '.join(SECTIONS)}")
    try:
        if arguments.markdown:
            print(BenchmarkResult.read(arguments.markdown).markdown())
            return
        for section in arguments.sections or ["films"]:
            output = Output()
            _run(section, arguments, output)
            written = make_result(section, given, output.tables).write(FOLDER)
            output.print(f"Tables, machine, versions and commit: {written}")
    except MtlError as error:
        sys.exit(f"error: {error}")


def _run(section: str, arguments: argparse.Namespace, console: Console) -> None:
    store = arguments.store
    then = arguments.then_until or arguments.until
    sections: dict[str, Callable[[], None]] = {
        "films": lambda: films.main(arguments.dates, store, console),
        "boosting": lambda: boosting.main(
            boosting.Options(
                boosting.parse_only(arguments.only),
                arguments.full,
                arguments.fresh,
                arguments.jobs,
                arguments.threads,
            ),
            console,
        ),
        "scenarios": lambda: scenarios.main(store, console),
        "rankers": lambda: rankers.main(store, regret.Options(arguments.days), console),
        "candidates": lambda: candidates.main(store, console),
        "text": lambda: text.main(store, console),
        "fusion": lambda: fusion.main(store, console),
        "regret": lambda: regret.main(
            store, regret.Options(arguments.days, arguments.fresh, arguments.jobs, arguments.threads), console
        ),
        "scoring": lambda: scoring.main(store, arguments.rows[0], console),
        "deep": lambda: deep.main(store, arguments.only, arguments.fresh, console),
        "counts": lambda: counts.main(arguments.accept, console),
        "board": lambda: board.main(arguments.runs, console),
        "compress": lambda: compress.main(store, console),
        "device": lambda: devices.main(
            devices.Options(arguments.rows, arguments.kinds, arguments.on, fresh=arguments.fresh), console
        ),
        "transfer": lambda: transfer.main(store, arguments.threads, console),
        "tuning": lambda: tuning.main(store, arguments.tune, arguments.trials, console),
        "strategies": lambda: strategies.main(
            store,
            strategies.Options(
                strategies.parse_days(arguments.days),
                arguments.threads,
                arguments.seeds,
                arguments.age,
                arguments.source,
            ),
            console,
        ),
        "data": lambda: data.main(arguments.events, f"{store}/data", arguments.until, then, console),
    }
    sections[section]()


if __name__ == "__main__":
    main()
