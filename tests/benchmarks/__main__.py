"""Run the benchmarks: ``python -m tests.benchmarks [films] [--dates 2013-08-25 …]``."""

import os

# Threads that spin while they wait cost other processes on the machine their time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse

from rich.console import Console

from tests.benchmarks import films


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("section", nargs="?", choices=["films"], default="films")
    parser.add_argument("--dates", nargs="+", default=list(films.DATES), metavar="YYYY-MM-DD")
    parser.add_argument("--store", default=".bench/store")
    arguments = parser.parse_args()
    films.main(arguments.dates, arguments.store, Console(width=110, highlight=False))


if __name__ == "__main__":
    main()
