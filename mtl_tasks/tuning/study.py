"""Studies in Optuna: where trials are stored, how the next one is suggested, and when one is pruned."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from upath import UPath

from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError, StoreError, answering
from mtl_tasks.core.extras import require_package
from mtl_tasks.store.codecs import pack_arrays, unpack_arrays
from mtl_tasks.store.durable_files import write_durably
from mtl_tasks.store.safe_files import LOCAL
from mtl_tasks.tuning.objective import Objective
from mtl_tasks.tuning.space import SearchSpace, Settings, trial_scenario

if TYPE_CHECKING:
    import optuna

    from mtl_tasks.models import Predictions

JOURNAL: Final = "journal.log"
SETTINGS, CPU, REFERENCE, FLOORS = "settings", "cpu_seconds", "reference", "floors"  # attributes of trials and studies
OnTrial = Callable[["optuna.trial.FrozenTrial", int, float], None]  # a finished trial, the number of them, best value
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pruning:
    """Rule by which a trial may be pruned; see the section ``tuning`` of a scenario."""

    startup_trials: int
    warmup_fits: int


@dataclass(frozen=True)
class Counts:
    """Trials of a study by their state; ``failed`` ones ended with an error, ``interrupted`` ones have not ended."""

    complete: int
    pruned: int
    failed: int
    interrupted: int

    @property
    def finished(self) -> int:
        """Trials that count toward the requested number."""
        return self.complete + self.pruned


def require_optuna() -> None:
    """Check that Optuna is installed.

    Raises
    ------
    ConfigError
        If it is not.
    """
    require_package("optuna", "tuning", "tune needs Optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # each trial is reported by the caller


def open_storage(address: str | None, folder: UPath) -> optuna.storages.BaseStorage:
    """Open where the trials of a study are stored.

    Parameters
    ----------
    address
        A database's URL, as SQLAlchemy writes it; None: a journal in ``folder``.
    folder
        The study's folder in the store.

    Raises
    ------
    ConfigError
        If the address cannot be used, or is None and the store is not on a disk.
    StoreError
        If the storage does not answer.
    """
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    if address is not None:
        with answering_storage(address), _opening(address):
            return get_storage(address)
    if folder.protocol not in LOCAL:
        raise ConfigError(
            f"{folder}: Optuna's journal needs a folder on a disk, and this store is a bucket: give a database for the "
            "trials, such as --storage postgresql+psycopg://user@host/database"
        )
    with answering_storage(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


@contextmanager
def answering_storage(address: str) -> Iterator[None]:
    """Turn errors of an unreachable storage of trials into :class:`StoreError`, which names it without its password."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = type(getattr(cause, "orig", None) or cause).__name__  # a database's message may hold secrets
        raise StoreError(
            f"storage {shown_address(address)}: does not answer ({reason}); run the same command again later"
        ) from None  # a traceback would show the driver's message


@contextmanager
def _opening(address: str) -> Iterator[None]:
    """Turn errors of an address that no database can have into :class:`ConfigError`."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        yield
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise ConfigError(
            f"storage {shown_address(address)}: not an address that can be opened ({type(error).__name__}): write a "
            "database's URL, such as sqlite:///trials.db or postgresql+psycopg://user@host/database, and install its "
            "driver"
        ) from None


def shown_address(address: str) -> str:
    """Return the address of a storage without its password, and without the query, which may hold one too.

    >>> shown_address("postgresql://ann:secret@host/trials?sslpassword=other")
    'postgresql://ann:***@host/trials'
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return address.partition("?")[0] if "@" not in address else "(an address with a user)"


def load_study(storage: optuna.storages.BaseStorage, name: str, pruning: Pruning) -> optuna.Study:
    """Return the study of a name, made now if there is none."""
    import optuna

    pruner = optuna.pruners.MedianPruner(pruning.startup_trials, pruning.warmup_fits)
    return optuna.create_study(
        storage=storage, study_name=name, direction="minimize", load_if_exists=True, pruner=pruner
    )


def counts_of(study: optuna.Study) -> Counts:
    """Count the trials of a study."""
    found = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    return Counts(found["COMPLETE"], found["PRUNED"], found["FAIL"], found["RUNNING"])


def value_text(trial: optuna.trial.FrozenTrial) -> str:
    """Return the value of a trial for a line of output; that of a pruned one is of its first fits only."""
    return "pruned" if trial.state.name == "PRUNED" or trial.value is None else f"{trial.value:.5f}"


def trial_with(study: optuna.Study, settings: Settings) -> optuna.trial.FrozenTrial | None:
    """Return the first complete trial of some settings."""
    complete = (trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE")
    return next((trial for trial in complete if trial.user_attrs[SETTINGS] == settings), None)


@dataclass(frozen=True)
class TrialRunner:
    """Runs the trials of a study.

    Attributes
    ----------
    folder
        The study's folder in the store, for the losses of complete trials.
    place
        Address of the stored trials, without a password.
    worker
        Number of this process among those that work on the study at once.
    alone
        Whether there is no other. An interrupted study then goes on as if it had not been interrupted.
    """

    study: optuna.Study
    space: SearchSpace
    objective: Objective
    folder: UPath
    place: str
    worker: int = 0
    alone: bool = True

    def run_shipped(self) -> None:
        """Run a trial of the scenario's own settings, unless there is a complete one."""
        with answering_storage(self.place):
            if trial_with(self.study, self.space.shipped) is not None:
                return
            self.study.enqueue_trial(dict(self.space.shipped))
        self.run(self.space.shipped)

    def run(self, settings: Settings | None = None) -> optuna.trial.FrozenTrial:
        """Run the next trial, of the settings given or of those that the sampler suggests, and return it.

        A trial of given settings is never pruned.
        """
        with answering_storage(self.place):
            self.study.sampler = self._sampler()
            trial = self.study.ask()
            suggested = self.space.suggest(trial)
            settings = suggested if settings is None else settings
            trial.set_user_attr(SETTINGS, settings)
        started = time.process_time()
        try:
            value = self._value(trial, settings, prunable=settings is suggested)
        except BaseException as error:
            if settings is not suggested or not isinstance(error, DataError):
                with answering_storage(self.place):
                    self.study.tell(trial, state=_state("FAIL"))
                raise
            log.warning("trial %d: pruned, as a member refuses its settings: %s", trial.number, error)
            value = None
        with answering_storage(self.place):
            trial.set_user_attr(CPU, round(time.process_time() - started, 3))
            return self.study.tell(trial, value, _state("COMPLETE" if value is not None else "PRUNED"))

    def _sampler(self) -> optuna.samplers.BaseSampler:
        """Return a sampler whose seed depends on how many trials are finished: one that is resumed draws the same."""
        import optuna

        parts = (self.objective.scenario.seed, counts_of(self.study).finished, self.worker)
        seed = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4])
        return optuna.samplers.TPESampler(seed=seed, constant_liar=not self.alone)

    def _value(self, trial: optuna.Trial, settings: Settings, *, prunable: bool) -> float | None:
        """Return the value of a trial, None if it is pruned; the losses of a complete trial are stored."""
        with answering_storage(self.place):
            reference: list[float] | None = self.study.user_attrs.get(REFERENCE)
        values: dict[int, float] = {}
        losses: dict[int, Predictions] = {}
        steps: list[float] = []
        scenario = trial_scenario(self.objective.scenario, settings)
        for step, (fold, made) in enumerate(self.objective.steps(scenario, self.space.kinds)):
            losses[fold], values[fold] = made, self.objective.value(fold, made)
            if not math.isfinite(values[fold]):
                raise DataError(f"the loss of its predictions is {values[fold]}")
            steps.append(values[fold])
            # The excess over the first trial, as days and members differ by more than settings do.
            first = steps if reference is None else reference[: len(steps)]
            excess = sum(ours - theirs for ours, theirs in zip(steps, first, strict=True)) / len(steps)
            with answering_storage(self.place):
                trial.report(excess, step)
                if prunable and trial.should_prune():
                    return None
        if reference is None:
            with answering_storage(self.place):
                self.study.set_user_attr(REFERENCE, steps)
        write_losses(self.folder, trial.number, losses)
        return sum(values.values()) / len(values)


def write_losses(folder: UPath, number: int, losses: dict[int, Predictions]) -> None:
    """Store the losses of a trial, by fold, task and user; the users' ids are not stored."""
    arrays = {f"{fold}.{task}": values for fold, made in losses.items() for task, values in made.items()}
    path = folder / "trials" / f"{number}.npz"
    with answering(f"{path}: cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, pack_arrays(arrays))


def read_losses(folder: UPath, number: int, objective: Objective) -> list[Predictions]:
    """Invert :func:`write_losses`.

    Raises
    ------
    ArtifactError
        If the file is missing, or not one of this study.
    StoreError
        If the store does not answer.
    """
    path = folder / "trials" / f"{number}.npz"
    tasks, folds = list(objective.scenario.tasks), range(len(objective.folds))
    expected = {f"{fold}.{task}": ("f", 1) for fold in folds for task in tasks}
    with answering(f"{path}: cannot be read", but=FileNotFoundError):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(f"{path}: is missing: restore it, or begin a study with another --storage") from None
    arrays = unpack_arrays(data, expected, str(path))
    return [{task: arrays[f"{fold}.{task}"] for task in tasks} for fold in folds]


def run_until(runner: TrialRunner, trials: int, on_trial: OnTrial) -> None:
    """Run trials until the study has a number of finished ones, including those of other processes."""
    while _finished(runner) < trials:
        trial = runner.run()
        with answering_storage(runner.place):
            best = runner.study.best_value
        on_trial(trial, _finished(runner), best)


def _finished(runner: TrialRunner) -> int:
    with answering_storage(runner.place):
        return counts_of(runner.study).finished


def _state(name: str) -> optuna.trial.TrialState:
    import optuna

    return optuna.trial.TrialState[name]
