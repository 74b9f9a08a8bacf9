"""Re-ranked lists are those of a plain loop over users, and without rules those of the ranking."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.errors import DataError
from mtl_tasks.core.top_lists import POPULAR, UTILITY, top_lists
from mtl_tasks.data.exclusions import FROM, UNTIL
from mtl_tasks.recommend.item_facts import NEVER, ItemFacts
from mtl_tasks.recommend.reranking import RerankingCounts, rerank
from mtl_tasks.scenario.reranking import Reranking, check_reranking
from tests.support.logs import tiny_scenario

DAY = 100
SCENARIO = tiny_scenario(
    source__items={"path": "films.parquet", "id": "film", "categorical": {"brand": "b"}, "multi": {"genres": "g"}}
)


@dataclass(frozen=True)
class World:
    """Candidates and what is known of items, by item id."""

    scored: pd.DataFrame
    item_ids: np.ndarray
    brand: list[str]
    genres: list[str]
    vectors: np.ndarray
    first_days: np.ndarray
    exclusions: pd.DataFrame

    def facts(self, rules: Reranking) -> ItemFacts:
        texts = {columns.TITLE: "", "brand": self.brand, "genres": self.genres}
        table = pd.DataFrame({columns.ITEM: self.item_ids, **texts}).sample(frac=1.0, random_state=0)
        known = {"vectors": self.vectors, "first_days": self.first_days, "exclusions": self.exclusions}
        return ItemFacts.of(rules, SCENARIO, self.item_ids, DAY, table=table, **known)

    def rerank(self, k: int, rules: Reranking) -> tuple[pd.DataFrame, RerankingCounts]:
        return rerank(self.scored, UTILITY, k, rules, self.facts(rules))


def world(seed: int, users: int = 4, items: int = 30, texts: bool = False) -> World:
    """Return candidates with many ties, missing scores, equal and missing vectors, and missing attributes."""
    rng = np.random.default_rng(seed)
    numbers = np.sort(rng.choice(1000, items, replace=False))
    ids = np.sort(numbers.astype(str)) if texts else numbers
    parts = []
    for user in rng.permutation(users):
        codes = np.sort(rng.choice(items, rng.integers(1, items + 1), replace=False))
        scores = rng.choice([np.nan, 0.1, 0.2, 0.7, 3.0, 900.0], len(codes), p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.1])
        scores = np.where(rng.random() < 0.1, np.nan, scores + rng.choice([0.0, rng.random()], len(codes)))
        mine = {columns.USER: 7 * user, columns.ITEM: ids[codes], columns.DAY: np.int32(DAY)}
        parts.append(pd.DataFrame({**mine, POPULAR: rng.integers(0, 3, len(codes)) * 1.0, UTILITY: scores}))
    vectors = rng.standard_normal((6, 5))[rng.integers(0, 6, items)].astype(np.float32)
    vectors *= rng.random((items, 1)) + np.float32(0.5)
    vectors[rng.random(items) < 0.2] = 0.0
    vectors[rng.random(items) < 0.1] = np.nan
    genres = ["|".join(rng.choice(list("abcd"), rng.integers(0, 4))) for _ in range(items)]
    gone = rng.integers(0, items - 1, 4)  # the last item is never excluded
    start = DAY + rng.integers(-3, 3, 4)
    exclusions = pd.DataFrame({columns.ITEM: ids[gone], FROM: start, UNTIL: start + rng.integers(1, 4, 4)})
    return World(
        pd.concat(parts).set_index(rng.permutation(sum(map(len, parts)))),
        ids,
        [str(brand) for brand in rng.choice(["", "x", "y", "z"], items)],
        [*genres[:-1], "b"],
        vectors.astype(np.float32),
        (DAY - rng.integers(-1, 30, items)).astype(np.int32),
        exclusions.astype({FROM: "int32", UNTIL: "int32"}),
    )


class Loop:
    """The rules, written for one user and one place at a time."""

    def __init__(self, made: World, k: int, rules: Reranking) -> None:
        self.made, self.k, self.rules = made, k, rules
        self.code = {item: code for code, item in enumerate(made.item_ids)}
        with np.errstate(invalid="ignore"):
            length = np.linalg.norm(made.vectors.astype(np.float64), axis=1)
            self.unit = (made.vectors / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)
        self.unit[np.isnan(self.unit)] = 0.0

    def values(self, item: Any, name: str) -> set[str]:
        code = self.code[item]
        texts = {self.made.brand[code]} if name == "brand" else set(self.made.genres[code].split("|"))
        return texts - {""}

    def excluded(self, item: Any) -> bool:
        by_value = any(self.values(item, rule.attribute) & set(rule.values) for rule in self.rules.exclude)
        rows = self.made.exclusions[self.made.exclusions[columns.ITEM] == item]
        by_table = any(start <= DAY < end for start, end in zip(rows[FROM], rows[UNTIL], strict=True))
        return by_value or (by_table and self.rules.exclude_table is not None)

    def new(self, row: dict[str, Any]) -> bool:
        if self.rules.new_items is None:
            return False
        return DAY - self.rules.new_items.days <= self.made.first_days[self.code[row[columns.ITEM]]] < DAY

    def candidates(self, user: int) -> list[dict[str, Any]]:
        rows = self.made.scored[self.made.scored[columns.USER] == user].to_dict("records")
        rows = [row for row in rows if not self.excluded(row[columns.ITEM])]
        rows.sort(key=lambda row: row[columns.ITEM])
        rows.sort(key=lambda row: (np.isnan(row[UTILITY]), -np.nan_to_num(row[UTILITY]), -row[POPULAR]))
        pool = [row for row in rows[: self.k * self.rules.pool_factor] if not np.isnan(row[UTILITY])]
        for row in pool:
            tied = [other[UTILITY] for other in pool].index(row[UTILITY])
            row["relevance"] = 1.0 - tied / max(len(pool) - 1, 1)
        return rows

    def value(self, row: dict[str, Any], chosen: list[dict[str, Any]]) -> float:
        if self.rules.diversity == 0 or "relevance" not in row:
            return -2.0
        mine = self.unit[self.code[row[columns.ITEM]]]
        near = [float(np.vecdot(mine, self.unit[self.code[other[columns.ITEM]]])) for other in chosen]
        return (1 - self.rules.diversity) * row["relevance"] - self.rules.diversity * max(near, default=0.0)

    def fits(self, row: dict[str, Any], chosen: list[dict[str, Any]]) -> bool:
        for name, most in self.rules.at_most.items():
            have = Counter(value for other in chosen for value in self.values(other[columns.ITEM], name))
            if any(have[value] >= most for value in self.values(row[columns.ITEM], name)):
                return False
        return True

    def extend(self, rows: list[dict[str, Any]], chosen: list[dict[str, Any]], most: int, capped: bool = True) -> None:
        while len(chosen) < most:
            left = [row for row in rows if row not in chosen and (not capped or self.fits(row, chosen))]
            if not left:
                return
            chosen.append(max(left, key=lambda row: self.value(row, chosen)))

    def items(self, user: int) -> list[Any]:
        rows = self.candidates(user)
        plain: list[dict[str, Any]] = []
        self.extend(rows, plain, self.k)
        least = 0 if self.rules.new_items is None else min(self.rules.new_items.at_least, self.k)
        if sum(map(self.new, plain)) < least:
            chosen: list[dict[str, Any]] = []
            self.extend([row for row in rows if self.new(row) and not np.isnan(row[UTILITY])], chosen, least)
            self.extend(rows, chosen, self.k)
            ordered: list[dict[str, Any]] = []
            self.extend([row for row in rows if row in chosen], ordered, self.k, capped=False)
            plain = ordered if sum(map(self.new, ordered)) > sum(map(self.new, plain)) else plain
        return [row[columns.ITEM] for row in plain]


EXCLUDED = {"exclude": [{"attribute": "genres", "values": ["a", "unheard of"]}]}
PERIODS = {"exclude_table": {"path": "gone.csv", "item": "item", "from": "from", "until": "until"}}
rule_sets = st.fixed_dictionaries(
    {"pool_factor": st.integers(1, 4)},
    optional={
        "diversity": st.sampled_from([0.0, 0.3, 0.9, 1.0]),
        "at_most": st.dictionaries(st.sampled_from(["brand", "genres"]), st.integers(1, 3)),
        "new_items": st.fixed_dictionaries({"days": st.integers(1, 20), "at_least": st.integers(1, 5)}),
    },
)


@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 8),
    drawn=rule_sets,
    excluding=st.sampled_from([{}, EXCLUDED, PERIODS, {**EXCLUDED, **PERIODS}]),
    texts=st.booleans(),
)
@settings(max_examples=60)
def test_lists_are_those_of_a_plain_loop(
    seed: int, k: int, drawn: dict[str, Any], excluding: dict[str, Any], texts: bool
) -> None:
    rules = Reranking.model_validate({**drawn, **excluding})
    made = world(seed, texts=texts)
    lists, counts = made.rerank(k, rules)
    loop = Loop(made, k, rules)
    users = np.unique(made.scored[columns.USER])
    expected = {user: loop.items(user) for user in users}
    found = lists.groupby(columns.USER)[columns.ITEM].agg(list).to_dict()
    assert {user: found.get(user, []) for user in users} == expected
    assert lists[columns.USER].is_monotonic_increasing
    assert (lists[columns.RANK] == lists.groupby(columns.USER).cumcount() + 1).all()
    pd.testing.assert_frame_equal(lists.drop(columns=columns.RANK), made.scored.loc[lists.index], check_exact=True)
    if rules.active:
        size = made.scored.groupby(columns.USER).size()
        least = 0 if rules.new_items is None else min(rules.new_items.at_least, k)
        rows = made.scored.to_dict("records")
        fresh = {user: {row[columns.ITEM] for row in rows if loop.new(row)} for user in users}
        assert counts == RerankingCounts(
            users=len(users),
            excluded_candidates=sum(map(loop.excluded, made.scored[columns.ITEM])),
            short_lists=sum(len(expected[user]) < min(k, size[user]) for user in users),
            empty_lists=sum(not expected[user] for user in users),
            lacking_new_items=sum(len(fresh[user] & set(expected[user])) < least for user in users),
        )


@given(seed=st.integers(0, 10_000), k=st.integers(1, 40))
@settings(max_examples=40)
def test_without_rules_or_with_rules_that_change_nothing_the_ranking_stays(seed: int, k: int) -> None:
    made = world(seed)
    plain = top_lists(made.scored, UTILITY, k)
    idle = {
        "at_most": {"brand": 1000},
        "exclude": [{"attribute": "brand", "values": ["unheard of"]}],
        "new_items": {"days": 1000, "at_least": 1},
    }
    made = replace(made, first_days=np.full_like(made.first_days, DAY - 1))
    for document in ({}, idle, {"exclude": idle["exclude"]}):
        lists, counts = made.rerank(k, Reranking.model_validate(document))
        pd.testing.assert_frame_equal(lists, plain, check_exact=True)
        assert (counts.excluded_candidates, counts.short_lists, counts.empty_lists) == (0, 0, 0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_list_does_not_depend_on_other_users(seed: int) -> None:
    rules = Reranking.model_validate(
        {"diversity": 0.4, "pool_factor": 2, "at_most": {"genres": 2}, "new_items": {"at_least": 2}}
    )
    made = world(seed, users=5)
    together, counts = made.rerank(4, rules)
    alone = [replace(made, scored=part).rerank(4, rules) for _, part in made.scored.groupby(columns.USER)]
    pd.testing.assert_frame_equal(pd.concat([lists for lists, _ in alone]), together, check_exact=True)
    assert sum((each for _, each in alone), RerankingCounts()) == counts


def handmade(scores: list[float], **changes: Any) -> World:
    """Return one user's candidates, items 0, 1, …, best first, old and without attributes unless changed."""
    size = len(scores)
    mine = {columns.USER: 1, columns.ITEM: np.arange(size), columns.DAY: DAY, POPULAR: 0.0, UTILITY: scores}
    nothing = pd.DataFrame({columns.ITEM: pd.Series([], dtype="int64"), FROM: [], UNTIL: []})
    plain = World(
        pd.DataFrame(mine),
        np.arange(size),
        [""] * size,
        [""] * size,
        np.eye(size, dtype=np.float32),
        np.zeros(size, dtype=np.int32),
        nothing,
    )
    return replace(plain, **changes)


def items(made: World, k: int, **document: Any) -> list[int]:
    return list(made.rerank(k, Reranking.model_validate(document))[0][columns.ITEM])


def test_a_copy_of_a_chosen_item_waits_for_different_ones() -> None:
    vectors = np.array([[2, 0], [1, 0], [0, 1], [0, 0]], dtype=np.float32)
    made = handmade([9.0, 8.0, 7.0, 6.0], vectors=vectors)
    # Relevance 1, 2/3, 1/3, 0: after item 0, its copy is worth 0.7 * 2/3 - 0.3 = 0.17, item 2 0.7 / 3 = 0.23.
    assert items(made, 4, diversity=0.3) == [0, 2, 1, 3]
    assert items(made, 4, diversity=0.9) == [0, 2, 3, 1]
    assert items(made, 4) == [0, 1, 2, 3]


def test_equal_scores_are_equally_relevant_and_equal_values_keep_the_order() -> None:
    vectors = np.ones((4, 3), dtype=np.float32)
    assert items(handmade([5.0] * 4, vectors=vectors), 3, diversity=0.5) == [0, 1, 2]
    vectors[3] = [1, -1, 0]
    assert items(handmade([5.0] * 4, vectors=vectors), 3, diversity=0.01) == [0, 3, 1]


def test_diversity_looks_no_further_than_the_pool() -> None:
    made = handmade([4.0, 3.0, 2.0, 1.0], vectors=np.array([[1, 0]] * 3 + [[0, 1]], dtype=np.float32))
    assert items(made, 2, diversity=1.0, pool_factor=1) == [0, 1]
    assert items(made, 2, diversity=1.0, pool_factor=2) == [0, 3]


def test_a_cap_counts_each_value_of_an_item_and_never_one_without_a_value() -> None:
    made = handmade([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], genres=["a|b", "b", "a|a", "", "c", ""])
    assert items(made, 6, at_most={"genres": 1}) == [0, 3, 4, 5]
    assert items(made, 3, at_most={"genres": 2}) == [0, 1, 2]


def test_caps_reach_beyond_the_pool() -> None:
    made = handmade([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], brand=["x"] * 5 + ["y"])
    assert items(made, 2, at_most={"brand": 1}, pool_factor=1) == [0, 5]
    assert items(made, 2, at_most={"brand": 1}, pool_factor=1, diversity=0.5) == [0, 5]


def test_new_items_take_the_last_places_and_no_more_than_they_must() -> None:
    first_days = np.array([0, 0, 0, 0, DAY - 7, DAY - 8, DAY - 1], dtype=np.int32)
    made = handmade([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], first_days=first_days)
    assert items(made, 3, new_items={"days": 7, "at_least": 1}) == [0, 1, 4]
    assert items(made, 3, new_items={"days": 7, "at_least": 3}) == [0, 4, 6]
    assert items(made, 5, new_items={"days": 7, "at_least": 1}) == [0, 1, 2, 3, 4]


def test_an_item_is_new_in_the_days_after_its_first_event() -> None:
    rules = Reranking.model_validate({"new_items": {"days": 2}})
    first_days = np.array([DAY - 3, DAY - 2, DAY - 1, DAY, NEVER], dtype=np.int32)
    facts = ItemFacts.of(rules, SCENARIO, np.arange(5), DAY, first_days=first_days)
    assert facts.new.tolist() == [False, True, True, False, False]


def test_a_cap_that_older_items_would_fill_leaves_a_place_to_a_new_one() -> None:
    first_days = np.array([0, 0, DAY - 1], dtype=np.int32)
    made = handmade([3.0, 2.0, 1.0], brand=["x", "y", "x"], first_days=first_days)
    assert items(made, 2, at_most={"brand": 1}, new_items={"at_least": 1}) == [1, 2]


def test_an_item_without_a_score_comes_after_all_numbers_also_if_it_is_new() -> None:
    first_days = np.array([0, 0, DAY - 1], dtype=np.int32)
    made = handmade([1.0, 0.0, np.nan], first_days=first_days)
    rules = {"diversity": 1.0, "new_items": {"at_least": 1}}
    assert items(made, 2, **rules) == [0, 1]
    assert items(made, 3, **rules) == [0, 1, 2]
    lacking = [made.rerank(k, Reranking.model_validate(rules))[1].lacking_new_items for k in (2, 3)]
    assert lacking == [1, 0]


@pytest.mark.parametrize("scores", [[1.0], [np.nan], [np.nan] * 4])
def test_few_candidates_or_none_with_a_score_make_a_list_of_all(scores: list[float]) -> None:
    made = handmade(scores)
    rules = Reranking(diversity=0.5, at_most={"brand": 1}, new_items={"at_least": 2})  # type: ignore[arg-type]
    lists, counts = made.rerank(10, rules)
    assert lists[columns.ITEM].tolist() == list(range(len(scores)))
    assert counts.document() == {
        "users": 1,
        "excluded_candidates": 0,
        "short_lists": 0,
        "empty_lists": 0,
        "lacking_new_items": 1,
    }


@pytest.mark.parametrize("document", [{"exclude": [{"attribute": "brand", "values": ["x"]}]}, PERIODS])
@pytest.mark.parametrize("selecting", [{}, {"diversity": 0.5}, {"at_most": {"genres": 1}}])
def test_a_user_whose_candidates_are_all_excluded_has_no_list(
    document: dict[str, Any], selecting: dict[str, Any]
) -> None:
    exclusions = pd.DataFrame({columns.ITEM: [0, 1], FROM: [DAY, DAY - 5], UNTIL: [DAY + 1, DAY + 5]})
    made = handmade([1.0, 2.0, 3.0], brand=["x", "x", "y"], exclusions=exclusions)
    made = replace(made, scored=made.scored[:2])
    lists, counts = made.rerank(2, Reranking.model_validate({**document, **selecting}))
    assert lists.empty
    assert list(lists) == [*made.scored, columns.RANK]
    assert counts == RerankingCounts(users=1, excluded_candidates=2, short_lists=1, empty_lists=1)


def test_no_candidates_make_no_lists() -> None:
    made = handmade([1.0, 2.0])
    for document in ({}, {"diversity": 0.5, "at_most": {"brand": 1}, "new_items": {}}):
        lists, counts = replace(made, scored=made.scored[:0]).rerank(3, Reranking.model_validate(document))
        assert lists.empty
        assert counts == RerankingCounts()


def test_exclusions_of_every_item_are_refused() -> None:
    made = handmade([1.0, 2.0], brand=["x", "x"])
    with pytest.raises(
        DataError, match=r"all 2 items are excluded on 1970-04-11, .*: correct exclude and .*tiny\.yaml"
    ):
        items(made, 1, exclude=[{"attribute": "brand", "values": ["x"]}])


def test_a_version_of_an_attribute_counts_from_the_day_after_it() -> None:
    rules = Reranking.model_validate({"exclude": [{"attribute": "brand", "values": ["x"]}]})
    times = pd.to_datetime([DAY - 3, DAY, DAY - 1], unit="D", utc=True)
    versions = {columns.ITEM: [1, 1, 2], columns.VALID: times, "brand": ["y", "x", "x"]}
    facts = ItemFacts.of(rules, SCENARIO, np.array([1, 2, 3]), DAY, table=pd.DataFrame(versions))
    assert facts.excluded.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"diversity": 0.1}, "diversity needs `vectors`"),
        ({"at_most": {"brand": 1}}, "at_most and exclude needs `table`"),
        ({"new_items": {}}, "new_items needs `first_days`"),
        (PERIODS, "exclude_table needs `exclusions`"),
    ],
)
def test_a_rule_is_not_skipped_because_its_facts_are_missing(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemFacts.of(Reranking.model_validate(document), SCENARIO, np.arange(3), DAY)


def test_an_unknown_candidate_is_refused() -> None:
    made = handmade([1.0, 2.0])
    rules = Reranking(diversity=0.5)
    facts = replace(made, item_ids=np.array([1, 2]), scored=made.scored).facts(rules)
    with pytest.raises(ValueError, match="1 candidates are not among the 2 items"):
        rerank(made.scored, UTILITY, 1, rules, facts)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"diversity": -0.1}, "diversity\n.*greater than or equal to 0"),
        ({"diversity": 1.1}, "diversity\n.*less than or equal to 1"),
        ({"at_most": {"brand": 0}}, "at_most.brand\n.*greater than or equal to 1"),
        ({"new_items": {"at_least": 0}}, "at_least\n.*greater than or equal to 1"),
        ({"new_items": {"days": 0}}, "days\n.*greater than or equal to 1"),
        ({"exclude": [{"attribute": "brand", "values": []}]}, "values\n.*at least 1 item"),
        ({"exclude": [{"attribute": "brand", "values": ["x"]}] * 2}, "names 'brand' twice"),
        ({"exclude_table": {"path": "gone.csv"}}, "item\n.*Field required"),
        ({"most": 3}, "most\n.*Extra inputs"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reranking.model_validate(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"at_most": {"brnd": 1}},
            r"reranking\.at_most\.brnd: 'brnd' is not a .*, did you mean 'brand'\? \(known: brand\)",
        ),
        ({"exclude": [{"attribute": "year", "values": ["x"]}]}, r"reranking\.exclude: 'year' is not a categorical or"),
        ({"new_items": {"at_least": 6}}, r"new_items\.at_least: is 6, but a list has 5 places: lower it, or raise"),
    ],
)
def test_rules_that_the_scenario_contradicts_are_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_reranking(Reranking.model_validate(document), ["brand"], 5)


def test_fitting_rules_pass_and_can_be_read_again() -> None:
    rules = Reranking.model_validate({"at_most": {"brand": 2}, "new_items": {"at_least": 5}, **EXCLUDED, **PERIODS})
    check_reranking(rules, ["brand", "genres"], 5)
    document = rules.model_dump(mode="json")
    assert document["exclude_table"]["from"] == "from"
    assert Reranking.model_validate(document) == rules
    assert not Reranking().active
