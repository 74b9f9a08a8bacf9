"""What past runs took, by stage, for those who are about to start another.

A scheduler shows this with the DAG, whose file it reads again and again. Hence nothing that is slow to import, a few
small files of a store on this machine, and coarse figures: a finer one would make a new version of the DAG a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

from mtl_tasks.errors import ArtifactError
from mtl_tasks.safe_files import DOCUMENT_BYTES, read_file
from mtl_tasks.sealing import StoreKey, unsealed
from mtl_tasks.stage_order import stage_place

Json = dict[str, Any]
RUNS: Final = 5


@dataclass(frozen=True)
class Cost:
    """What a stage took.

    Attributes
    ----------
    seconds
        From start to end, the median over the runs.
    peak_mb
        Largest memory of the process that ran it, in MB, the maximum over the runs.
    """

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class PastCosts:
    """What the newest runs took; ``problem`` says why nothing is known.

    Attributes
    ----------
    stages
        By name, in the order of the run.
    """

    runs: int
    stages: dict[str, Cost]
    problem: str | None = None

    def line(self) -> str:
        """Return all stages together in a sentence."""
        if not self.stages:
            return f"What past runs took: {self.problem}."
        seconds = sum(cost.seconds for cost in self.stages.values())
        peak = max(cost.peak_mb for cost in self.stages.values())
        newest = "newest run" if self.runs == 1 else f"newest {self.runs} runs"
        return f"The {newest} took {_time(seconds)} in all stages, and at most {_memory(peak)}."

    def table(self) -> str:
        """Return the stages as a Markdown table."""
        if not self.stages:
            return self.line()
        rows = [f"| {name} | {_time(cost.seconds)} | {_memory(cost.peak_mb)} |" for name, cost in self.stages.items()]
        return "\n".join([self.line(), "", "| stage | time (median) | memory (peak) |", "|---|---|---|", *rows])


def read_costs(store: str, scenario: str, key: StoreKey | None = None) -> PastCosts:
    """Return what the newest runs of a scenario took, at most ``RUNS`` of them.

    Parameters
    ----------
    store
        Root of the store. In a bucket nothing is read: a call over the network has no place where a DAG is parsed.
    key
        What the store's documents are sealed with.
    """
    if "://" in store:
        return PastCosts(0, {}, "not read here from a store in a bucket; the report of each run says it")
    try:
        usages = [_usage(Path(store), entry, key) for entry in _newest(Path(store), scenario, key)]
    except FileNotFoundError:
        usages = []
    except OSError as error:
        return PastCosts(0, {}, f"the store cannot be read ({error.strerror})")
    except (ArtifactError, ValueError, KeyError, TypeError, AttributeError):
        return PastCosts(0, {}, "a record or a manifest is damaged; `python -m mtl_tasks registry verify` says which")
    known = sorted({stage for usage in usages for stage in usage}, key=lambda stage: (stage_place(stage), stage))
    stages = {stage: _cost([usage[stage] for usage in usages if stage in usage]) for stage in known}
    return PastCosts(len(usages), stages, None if usages else "no run yet")


def _newest(store: Path, scenario: str, key: StoreKey | None) -> list[Json]:
    """The entries of the newest runs; see :class:`mtl_tasks.registry.Registry` for where they lie."""
    return list(islice(_entries(store, scenario, key), RUNS))


def _entries(store: Path, scenario: str, key: StoreKey | None) -> Iterator[Json]:
    for day in sorted((store / scenario / "registry").iterdir(), reverse=True):
        for path in sorted(day.glob("*.json"), reverse=True):
            record = _document(store, str(path.relative_to(store)), key)
            if "action" not in record:  # what people ruled later lies there too
                yield record


def _usage(store: Path, entry: Json, key: StoreKey | None) -> Json:
    """What each stage took that is still there: lists and old days may have been pruned."""
    manifests = {stage: f"{ref['uri']}/manifest.json" for stage, ref in entry["refs"].items()}
    usages = {}
    for stage, path in manifests.items():
        with suppress(FileNotFoundError):
            usages[stage] = _document(store, path, key)["usage"]
    return usages


def _document(store: Path, path: str, key: StoreKey | None) -> Json:
    data = read_file(store, path, DOCUMENT_BYTES)
    if data is None:
        raise ValueError("too large")
    return unsealed(data, key, path)


def _cost(usages: list[Json]) -> Cost:
    return Cost(median(usage["seconds"] for usage in usages), max(usage["peak_rss_mb"] for usage in usages))


def _time(seconds: float) -> str:
    """Write a time as coarsely as people plan by.

    >>> _time(0.42), _time(7.26), _time(49), _time(131), _time(4200)
    ('under 1 s', '7 s', '50 s', '2 min', '70 min')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{round(seconds) if seconds < 10 else round(seconds, -1):.0f} s"
    return f"{round(seconds / 60):.0f} min"


def _memory(megabytes: float) -> str:
    """Write an amount of memory in steps that are a tenth or more of it.

    >>> _memory(312.4), _memory(1433.0)
    ('300 MB', '1.4 GB')
    """
    return f"{round(megabytes, -2):.0f} MB" if megabytes < 950 else f"{megabytes / 1000:.1f} GB"
