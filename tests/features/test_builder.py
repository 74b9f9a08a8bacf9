"""A row's features are what the log said before its day: no more (the leak property), and no less (brute force)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import DataError
from mtl_tasks.features import running_sums as sums
from mtl_tasks.features.builder import (
    TASTE,
    FactorModels,
    FeatureMaker,
    Tables,
    build_features,
    extend_factor_models,
    fit_factor_models,
    warm_startable,
)
from mtl_tasks.features.groups.co_occurrence import CoOccurrence
from mtl_tasks.features.interactions import IndexedRows, encode, positive_interactions
from mtl_tasks.scenario import Scenario
from tests.support.worlds import (
    END,
    FIRST,
    ITEMS,
    RICH,
    START,
    USERS,
    Event,
    canonical,
    fit_all,
    item_table,
    random_events,
    random_rows,
    tables,
    user_versions,
    world_scenario,
)

KNOWN_ITEMS = [10 + 2 * code for code in range(ITEMS + 2)]
DAMPING = 5.0


def features_of(
    events: list[Event],
    rows: pd.DataFrame,
    scenario: Scenario,
    *,
    text: bool,
    end: int = END,
    items: list[int],
    late: bool = False,
    users: pd.DataFrame | None = None,
) -> pd.DataFrame:
    frame = canonical(events, text=text)
    if late:
        frame[columns.KNOWN] = np.array([known(event, late) for event in events], dtype=np.int32)
    beside = tables(item_table(items, text=text))
    factor_models = fit_all(frame, beside.items, scenario, START, end)
    beside = beside if users is None else Tables(users, beside.items)
    return build_features(frame, beside, rows, factor_models, scenario)


def known(event: Event, late: bool) -> int:
    """Day in which an event's labels become final: up to two days after it, if they do so late."""
    return event.day + ((event.user // 2 + event.item // 2) % 3 if late else 0)


# ------------------------------------------------------------------------------------------ the leak property

later_events = st.lists(
    st.builds(
        Event,
        user=st.integers(95, 100 + 2 * USERS),  # odd ids are users, and items below, that the log never saw
        item=st.integers(5, 10 + 2 * ITEMS),
        day=st.integers(0, END - START + 3),  # counted from the cut below
        rating=st.sampled_from([0.0, 3.0, 10.0, float("nan")]),
        like=st.sampled_from([0.0, 1.0]),
        tab=st.sampled_from(["", "home", "archive"]),  # one of them is a kind that the log never saw
        cart=st.sampled_from([0.0, 1.0]),
    ),
    max_size=25,
)


@pytest.mark.faults(12)
@given(
    seed=st.integers(0, 2**16),
    text=st.booleans(),
    cut=st.integers(START, END),
    kept=st.floats(0.0, 1.0),
    added=later_events,
    longer=st.integers(0, 4),
    late=st.booleans(),
    rich=st.booleans(),
    small_space=st.sampled_from([0, sums.SMALL_SPACE]),  # in which way pairs are found
)
@settings(max_examples=150)
def test_no_change_at_or_after_a_rows_day_changes_its_features(
    seed: int,
    text: bool,
    cut: int,
    kept: float,
    added: list[Event],
    longer: int,
    late: bool,
    rich: bool,
    small_space: int,
) -> None:
    with pytest.MonkeyPatch.context() as settled:
        settled.setattr(sums, "SMALL_SPACE", small_space)
        _hold_to_the_leak_property(seed, text, cut, kept, added, longer, late, rich)


def _hold_to_the_leak_property(
    seed: int, text: bool, cut: int, kept: float, added: list[Event], longer: int, late: bool, rich: bool
) -> None:
    rng = np.random.default_rng(seed)
    scenario = world_scenario(**(RICH if rich else {}))
    events, rows = random_events(rng), random_rows(rng, 50, text=text)
    changed = [
        event if known(event, late) < cut else reversed_labels(event, cut)
        for event in events
        if event.day < cut or rng.random() < kept
    ] + [event._replace(day=cut + event.day) for event in added]

    users = user_versions(rng, text=text) if rich else None
    before = features_of(events, rows, scenario, text=text, items=KNOWN_ITEMS, late=late, users=users)
    new_items = sorted({event.item for event in added} | set(KNOWN_ITEMS))
    if users is not None:
        users = users.drop(index=users.index[users[columns.VALID] >= pd.Timestamp(cut, unit="D", tz="UTC")][1::2])
        users = users.assign(fans=users["fans"].where(users[columns.VALID] < pd.Timestamp(cut, unit="D", tz="UTC"), -1))
    after = features_of(changed, rows, scenario, text=text, end=END + longer, items=new_items, late=late, users=users)

    settled = (rows[columns.DAY] <= cut).to_numpy()
    assert list(before) == list(after)
    differing = [name for name in before if not same(before[name][settled], after[name][settled])]
    assert differing == []


def reversed_labels(event: Event, cut: int) -> Event:
    """Turn what was told from a day on: the labels, and the context if the event itself is of then."""
    changed = event._replace(rating=10.0 - event.rating, like=1.0 - event.like, cart=1.0 - event.cart)
    return changed if event.day < cut else changed._replace(tab="archive")


def same(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns are equal to the bit, or name the same kinds."""
    if isinstance(one.dtype, pd.CategoricalDtype):
        return one.astype(object).equals(other.astype(object))
    return np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True)


def test_a_change_before_a_rows_day_shows_in_its_features() -> None:
    rng = np.random.default_rng(3)
    scenario = world_scenario()
    events, rows = random_events(rng), random_rows(rng, 50)
    changed = [event._replace(rating=10.0 - event.rating) if event.day == START else event for event in events]
    before = features_of(events, rows, scenario, text=False, items=KNOWN_ITEMS)
    after = features_of(changed, rows, scenario, text=False, items=KNOWN_ITEMS)
    later = (rows[columns.DAY] > START).to_numpy()
    for name in ("rating.level", "user_x_item.rating.factors", "user_x_item.rating.near_residual"):
        assert not np.array_equal(before[name][later], after[name][later], equal_nan=True), name


def test_what_a_signal_a_version_and_a_kind_of_context_said_before_a_rows_day_shows_in_its_features() -> None:
    rng = np.random.default_rng(3)
    scenario = world_scenario(**RICH)
    events, rows = random_events(rng), random_rows(rng, 60)
    users = user_versions(rng)
    before = features_of(events, rows, scenario, text=False, items=KNOWN_ITEMS, users=users)
    changed = [event._replace(cart=1.0 - event.cart, tab="search") if event.day < START else event for event in events]
    after = features_of(changed, rows, scenario, text=False, items=KNOWN_ITEMS, users=users.assign(fans=-1.0))
    for name in (
        "user.fans",
        "user.cart.mean",
        "item.cart.bias",
        "taste.dot",
        "context.tab.like.mean",
        "user_x_tab.rating.mean",
        "item.like.beyond_tab",
    ):
        assert not same(before[name], after[name]), name
    assert before["context.price"].tolist() == rows[columns.context("price")].tolist()


def test_the_order_of_rows_is_kept_and_their_index_is_no_matter() -> None:
    rng = np.random.default_rng(4)
    events, rows = random_events(rng), random_rows(rng, 40)
    scenario = world_scenario()
    made = features_of(events, rows, scenario, text=False, items=KNOWN_ITEMS)
    turned = features_of(events, rows.iloc[::-1], scenario, text=False, items=KNOWN_ITEMS)
    pd.testing.assert_frame_equal(made, turned.iloc[::-1].reset_index(drop=True), check_exact=False, rtol=1e-5)


def test_text_and_integer_ids_give_equal_features() -> None:
    events, rows = random_events(np.random.default_rng(5)), random_rows(np.random.default_rng(6), 40)
    as_text = random_rows(np.random.default_rng(6), 40, text=True)
    scenario = world_scenario()
    made = features_of(events, rows, scenario, text=False, items=KNOWN_ITEMS)
    same = features_of(events, as_text, scenario, text=True, items=KNOWN_ITEMS)
    learned = ("taste.", "user_x_item.rating.near_residual", "user_x_item.rating.factors")  # start from random vectors
    stable = [name for name in made if not name.startswith(learned)]
    pd.testing.assert_frame_equal(made[stable], same[stable], check_exact=False, rtol=1e-5)


def test_features_are_float32_and_aligned() -> None:
    rng = np.random.default_rng(7)
    rows = random_rows(rng, 30)
    made = features_of(random_events(rng), rows, world_scenario(), text=False, items=KNOWN_ITEMS)
    assert len(made) == len(rows)
    assert {str(dtype) for dtype in made.dtypes} == {"float32"}
    assert not np.isinf(made.to_numpy()).any()


def test_raw_factors_are_the_vectors_whose_product_is_the_dot() -> None:
    rng = np.random.default_rng(7)
    made = features_of(random_events(rng), random_rows(rng, 60), world_scenario(), text=False, items=KNOWN_ITEMS)
    users, items = (made[[f"taste.{whose}_{place}" for place in range(4)]].to_numpy() for whose in ("user", "item"))
    known = made["taste.dot"].notna().to_numpy()
    assert known.any()
    assert np.abs((users * items).sum(axis=1) - made["taste.dot"])[known].max() < 1e-5
    assert np.isnan(items[~known]).all()


def test_spaces_of_an_earlier_run_reach_a_later_day_as_if_fitted_with_it() -> None:
    events = canonical(random_events(np.random.default_rng(8)))
    scenario = world_scenario()
    whole = fit_factor_models(events, scenario, START, END)
    early = fit_factor_models(events[events[columns.DAY] < START + 3], scenario, START, START + 3)
    extended = extend_factor_models(early, events, scenario, END)
    for name, item_factors in whole.items():
        for field in ("item_ids", "valid_from", "vectors"):
            assert np.array_equal(getattr(item_factors, field), getattr(extended[name], field)), (name, field)


def test_spaces_that_know_ids_of_another_type_are_refused_and_not_taken_for_ones_of_other_items() -> None:
    events = canonical(random_events(np.random.default_rng(9)))
    factor_models = fit_factor_models(events, world_scenario(), START, END)
    texts = events.astype({columns.ITEM: "str"})
    with pytest.raises(DataError, match="'taste' factors know items by integers, but the log's item ids are texts now"):
        extend_factor_models(factor_models, texts, world_scenario(), END)
    with pytest.raises(DataError, match="know items by integers"):
        fit_factor_models(texts, world_scenario(), START, END, factor_models)


def test_factors_of_other_dimensions_are_not_started_from_and_named() -> None:
    events, scenario = canonical(random_events(np.random.default_rng(9))), world_scenario()
    factor_models = fit_factor_models(events, scenario, START, END)
    assert warm_startable(factor_models, scenario) == (factor_models, [])
    wider = world_scenario(factors__dimensions=6, factors__rating_dimensions=5)
    chosen, problems = warm_startable(factor_models, wider)
    assert chosen == {}
    assert problems[0] == (
        "factors 'taste': the earlier run's have 4 dimensions, the scenario asks for 6: fitted from scratch"
    )
    assert problems[1].startswith("factors 'level:rating': the earlier run's have")
    made = fit_factor_models(events, wider, START, END, chosen)
    assert [item_factors.vectors.shape[1] for item_factors in made.values()][:2] == [6, 5]


def test_history_without_a_label_is_refused_by_name() -> None:
    events = [
        event._replace(rating=float("nan")) if event.day < START else event
        for event in random_events(np.random.default_rng(9))
    ]
    day = re.escape(day_text(START))
    with pytest.raises(DataError, match=rf"no 'rating' label in the .* events before {day} \(the train window\)"):
        fit_factor_models(canonical(events), world_scenario(), START, END)


def test_a_refit_that_falls_before_the_log_names_its_day_and_the_setting_that_put_it_there() -> None:
    events = canonical(random_events(np.random.default_rng(9)))
    first = int(events[columns.DAY].min())
    with pytest.raises(
        DataError,
        match=rf"no positive interaction in the 0 events before {day_text(first)} \(the train window, or up to "
        rf"factors\.refit_days before it\), .*, at least 1 is needed: lower factors\.refit_days \(7\), choose",
    ):
        fit_factor_models(events, world_scenario(factors__refit_days=7), first, END)


# -------------------------------------------------------------------------------------- a slow, obvious oracle


class Oracle:
    """Features of one row at a time, by their definitions, in plain Python."""

    def __init__(self, events: list[Event], factor_models: FactorModels) -> None:
        self.events = sorted(events, key=lambda event: event.day)
        self.factor_models = factor_models
        self.rated = [event for event in self.events if not math.isnan(event.rating)]
        self.against_item = {place: self._against_item(event) for place, event in enumerate(self.rated)}
        self.user_bias_then = {
            place: self._damped(
                [self.against_item[other] for other in self._rated_before(event.day, user=event.user)], 0.0
            )
            for place, event in enumerate(self.rated)
        }

    def past(self, day: int, user: int | None = None, item: int | None = None, since: int = 0) -> list[Event]:
        return [
            event
            for event in self.events
            if since <= event.day < day and user in (None, event.user) and item in (None, event.item)
        ]

    def _rated_before(self, day: int, user: int | None = None, item: int | None = None) -> list[int]:
        return [
            place
            for place, event in enumerate(self.rated)
            if event.day < day and user in (None, event.user) and item in (None, event.item)
        ]

    def _damped(self, values: list[float], prior: float) -> float:
        return (sum(values) + DAMPING * prior) / (len(values) + DAMPING)

    def overall(self, day: int) -> float:
        values = [self.rated[place].rating for place in self._rated_before(day)]
        return sum(values) / len(values) if values else 5.0

    def _against_item(self, event: Event) -> float:
        values = [self.rated[place].rating for place in self._rated_before(event.day, item=event.item)]
        return event.rating - self._damped(values, self.overall(event.day))

    def residual(self, place: int) -> float:
        return self.against_item[place] - self.user_bias_then[place]

    def user_mean(self, user: int, item: int, day: int) -> float:
        values = [self.rated[place].rating for place in self._rated_before(day, user=user)]
        return self._damped(values, self.overall(day))

    def user_bias(self, user: int, item: int, day: int) -> float:
        return self._damped([self.against_item[place] for place in self._rated_before(day, user=user)], 0.0)

    def item_bias(self, user: int, item: int, day: int) -> float:
        left = [
            self.rated[place].rating - self.overall(self.rated[place].day) - self.user_bias_then[place]
            for place in self._rated_before(day, item=item)
        ]
        return self._damped(left, 0.0)

    def level(self, user: int, item: int, day: int) -> float:
        return self.overall(day) + self.user_bias(user, item, day) + self.item_bias(user, item, day)

    def spread(self, user: int, item: int, day: int) -> float:
        values = [self.rated[place].rating for place in self._rated_before(day, user=user)]
        return float(np.std(values)) if len(values) >= 2 else math.nan

    def genre_share(self, user: int, item: int, day: int) -> float:
        genres = genres_of(item)
        mine = self.past(day, user=user)
        shares = [sum(genre in genres_of(event.item) for event in mine) / max(len(mine), 1) for genre in genres]
        return sum(shares) / len(shares) if shares else math.nan

    def genre_residual(self, user: int, item: int, day: int) -> float:
        means = [
            self._damped(
                [
                    self.residual(place)
                    for place in self._rated_before(day, user=user)
                    if genre in genres_of(self.rated[place].item)
                ],
                0.0,
            )
            for genre in genres_of(item)
        ]
        return sum(means) / len(means) if means else math.nan

    def positives(self, user: int, day: int) -> list[int]:
        """Items that a user had taken by a day, in order, each once; here every event is a purchase."""
        return list(dict.fromkeys(event.item for event in self.past(day, user=user)))

    def takers(self, item: int, day: int) -> int:
        return sum(item in self.positives(user, day) for user in {event.user for event in self.events})

    def co_occurrence(self, user: int, item: int, day: int, limit: int | None = None) -> float:
        if not self.takers(item, day):
            return math.nan
        basket = self.positives(user, day)[-(limit or len(self.events)) :]
        total = 0.0
        for other in {event.user for event in self.events} - {user}:
            theirs = self.positives(other, day)
            for mine in basket:
                if mine != item and mine in theirs and item in theirs:
                    rank = max(theirs.index(mine), theirs.index(item))
                    total += 1 / math.log(3 + rank) / math.sqrt(self.takers(mine, day))
        return total / math.sqrt(self.takers(item, day))

    def vector(self, item: int, day: int) -> np.ndarray | None:
        item_factors = self.factor_models[TASTE]
        versions = [
            (valid_from, vector)
            for code, valid_from, vector in zip(
                item_factors.item_ids, item_factors.valid_from, item_factors.vectors, strict=True
            )
            if code == item and valid_from <= day
        ]
        return max(versions, key=lambda version: version[0])[1] if versions else None

    def near_residual(self, user: int, item: int, day: int) -> float:
        mine = self.vector(item, day)
        if mine is None:
            return 0.0
        total = mass = 0.0
        for place in self._rated_before(day, user=user):
            other = self.vector(self.rated[place].item, day)
            if other is not None and np.linalg.norm(mine) * np.linalg.norm(other) > 0:
                cosine = float(mine @ other / np.linalg.norm(mine) / np.linalg.norm(other))
                weight = max(cosine, 0.0) ** 3
                total, mass = total + weight * self.residual(place), mass + weight
        return total / (mass + 1.0)

    def since_last(self, user: int, item: int, day: int) -> float:
        mine = self.past(day, user=user)
        return day - mine[-1].day if mine else math.nan

    def age(self, user: int, item: int, day: int) -> float:
        takes = self.past(day, item=item)
        return day - takes[0].day if takes else math.nan


def genres_of(item: int) -> list[str]:
    text = item_table([item])["genres"].iloc[0]
    return text.split("|") if text else []


Definition = Callable[[Oracle, int, int, int], float]
DEFINITIONS: dict[str, Definition] = {
    "user.count": lambda oracle, user, item, day: len(oracle.past(day, user=user)),
    "item.count": lambda oracle, user, item, day: len(oracle.past(day, item=item)),
    "user.count_7d": lambda oracle, user, item, day: len(oracle.past(day, user=user, since=day - 7)),
    "item.count_7d": lambda oracle, user, item, day: len(oracle.past(day, item=item, since=day - 7)),
    "item.count_1d": lambda oracle, user, item, day: len(oracle.past(day, item=item, since=day - 1)),
    "user.days_since_last": Oracle.since_last,
    "item.days_since_first": Oracle.age,
    "user.rating.mean": Oracle.user_mean,
    "user.rating.bias": Oracle.user_bias,
    "user.rating.spread": Oracle.spread,
    "item.rating.bias": Oracle.item_bias,
    "rating.level": Oracle.level,
    "user_x_genres.share": Oracle.genre_share,
    "user_x_genres.rating.residual": Oracle.genre_residual,
    "co_occurrence.all": Oracle.co_occurrence,
    "co_occurrence.recent": lambda oracle, user, item, day: oracle.co_occurrence(user, item, day, limit=3),
    "user_x_item.rating.near_residual": Oracle.near_residual,
}


@pytest.fixture(scope="module")
def compared() -> tuple[Oracle, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(11)
    scenario = world_scenario(features={"last_items": 3})
    events, rows = random_events(rng), random_rows(rng, 60)
    frame = canonical(events)
    factor_models = fit_factor_models(frame, scenario, START, END)
    made = build_features(frame, tables(item_table(KNOWN_ITEMS)), rows, factor_models, scenario)
    return Oracle(events, factor_models), rows, made


@pytest.mark.parametrize("name", DEFINITIONS)
def test_feature_equals_its_definition(name: str, compared: tuple[Oracle, pd.DataFrame, pd.DataFrame]) -> None:
    oracle, rows, made = compared
    keys = zip(rows[columns.USER], rows[columns.ITEM], rows[columns.DAY], strict=True)
    expected = [DEFINITIONS[name](oracle, int(user), int(item), int(day)) for user, item, day in keys]
    np.testing.assert_allclose(made[name], expected, rtol=1e-4, atol=1e-5)
    assert len({round(value, 6) for value in expected if not math.isnan(value)}) > 1  # not vacuous


def test_a_first_day_without_any_past_has_features() -> None:
    events = random_events(np.random.default_rng(12))
    scenario = world_scenario()
    frame = canonical(events)
    rows = pd.DataFrame({columns.USER: [100], columns.ITEM: [10], columns.DAY: np.array([FIRST], dtype=np.int32)})
    made = build_features(
        frame, tables(item_table(KNOWN_ITEMS)), rows, fit_factor_models(frame, scenario, START, END), scenario
    )
    assert made["user.count"].tolist() == [0.0]
    assert made["rating.level"].tolist() == [5.0]
    assert made["user.days_since_last"].isna().all()


def test_what_only_the_user_has_taken_goes_with_nothing_however_long_ago() -> None:
    scenario = world_scenario()
    events = [Event(100, 10 + 2 * item, FIRST + item // 60, 5.0, 1.0) for item in range(250)]
    coded, _ = encode(canonical(events), canonical(events).iloc[:0], scenario)
    pairs = CoOccurrence(positive_interactions(coded, scenario), last_items=20)
    pairs.advance(END)
    rows = IndexedRows(np.zeros(250, dtype=np.int64), np.arange(250), np.full(250, END))
    assert not pairs.columns(rows)["co_occurrence.all"].any()


def test_overlap_is_the_same_to_the_bit_for_a_row_alone_and_in_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(13)
    scenario = world_scenario()
    takes = rng.integers([0, 0, FIRST], [40, 200, END], (1500, 3)).tolist()
    takes += [(0, item, FIRST) for item in range(120)]  # one who has taken more than goes into a list
    frame = canonical([Event(100 + 2 * user, 10 + 2 * item, day, 5.0, 1.0) for user, item, day in takes])
    coded, _ = encode(frame, frame.iloc[:0], scenario)
    pairs = CoOccurrence(positive_interactions(coded, scenario), last_items=5)
    pairs.advance(END)
    users, items = np.repeat(np.arange(40), 200), np.tile(np.arange(200), 40)  # what was taken is among them
    rows = IndexedRows(users, items, np.full(len(users), END))
    alone = [pairs.columns(rows.at(np.arange(place, len(users), 200))) for place in range(200)]
    monkeypatch.setattr("mtl_tasks.features.groups.co_occurrence._CHUNK", 3 * 200)
    for name, listed in pairs.columns(rows).items():
        assert np.unique(listed).size > 100
        assert listed.reshape(40, 200).T.tobytes() == np.stack([columns_[name] for columns_ in alone]).tobytes()


def test_days_only_go_forward() -> None:
    scenario = world_scenario()
    frame = canonical(random_events(np.random.default_rng(13)))
    coded, _ = encode(frame, frame.iloc[:0], scenario)
    maker = FeatureMaker(
        coded, tables(item_table(KNOWN_ITEMS)), fit_factor_models(frame, scenario, START, END), scenario
    )
    maker.advance(END)
    with pytest.raises(ValueError, match=f"day {START} is before day {END}"):
        maker.advance(START)
