"""One contract for all retrievers, on a shop whose right answers are known."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.declarations import RETRIEVERS, SIGNALS
from feature_repo.online import NO_CIRCLE, NO_HISTORY, NO_INTERESTS, Circle, History, Interests
from training.errors import TrainingError
from training.registry import ModelFolder, ModelMeta
from training.retrieval.contract import Acts, Products
from training.retrieval.item_to_item import cosine
from training.retrieval.linear import Linear
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.next_item import rules
from training.retrieval.sequential import GAPS, KEPT_BACK, Sequential, SequentialParams, Steps, gap_codes
from training.retrieval.train import Fitter

CUT = datetime(2026, 3, 1, tzinfo=UTC)
PRODUCTS = ["camera", "lens", "film", "game", "tripod", "unsold"]
CATEGORIES = ["Photo", "Photo", "Films", "Games", "Photo", "Photo"]
VECTORS = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1], [0.8, 0, 0.2], [1, 0.1, 0]], np.float32)
WEIGHTS = [0.1, 0.2, 0.3, 0.2, 0.5, 0.5, 1.0, -1.0]


def events() -> pd.DataFrame:
    """Cameras sell with lenses, games sell most but long ago, films lately."""
    rows = []
    for user in range(6):
        rows += [(f"u{user}", "camera", 20 + user), (f"u{user}", "lens", 19 + user)]
    rows += [(f"g{user}", "game", 300) for user in range(8)]
    rows += [(f"f{user}", "film", 2) for user in range(5)] + [("u0", "tripod", 18)]
    return pd.DataFrame(
        [("purchase", user, product, CUT - timedelta(days=days), CUT - timedelta(days=days)) for user, product, days in rows],
        columns=["event_type", "user_id", "product_id", "event_time", "arrived_at"],
    )


def fitted(params: Params | None = None, repeat_buying: bool = True, rows: pd.DataFrame | None = None) -> RetrieverSet:
    products = Products.of(PRODUCTS, CATEGORIES, [None] * len(PRODUCTS), VECTORS)
    fitter = Fitter.before(events() if rows is None else rows, products, CUT, seed=1)
    return fitter.set(params or Params(), repeat_buying, WEIGHTS, "v1")


def bought(*products: tuple[str, float, float]) -> History:
    """Products with count and days before the cut."""
    times = np.array([(CUT - timedelta(days=days)).timestamp() for _, _, days in products])
    counts = np.array([count for _, count, _ in products], np.float32)
    return History(tuple(product for product, _, _ in products), counts, times, np.zeros(len(products)))


def best(retrievers: RetrieverSet, name: str, history: History) -> str:
    return str(retrievers.product_ids[np.argmax(retrievers.scores(name, history, CUT))])


def chosen(*products: tuple[str, float, float]) -> Circle:
    """Products with weight and people."""
    return Circle(*(np.array(values, np.float32) if number else values for number, values in enumerate(zip(*products, strict=True))))


@pytest.mark.parametrize("name", RETRIEVERS)
@pytest.mark.parametrize("circle", [NO_CIRCLE, chosen(("lens", 2, 3)), chosen(("gone", 2, 3), ("film", 1, 0))], ids=["alone", "lens", "unknown too"])
@pytest.mark.parametrize("history", [NO_HISTORY, bought(("camera", 1, 3)), bought(("gone", 1, 3))], ids=["nobody", "camera", "unknown product"])
def test_contract(name: str, history: History, circle: Circle) -> None:
    scores = fitted().scores(name, history, CUT, NO_INTERESTS, circle)
    assert scores.shape == (len(PRODUCTS),) and scores.dtype == np.float32
    assert not np.isnan(scores).any()


def test_popular_prefers_what_sells_now() -> None:
    assert best(fitted(Params(popular_half_life=7)), "popular", NO_HISTORY) == "film"
    assert best(fitted(Params(popular_half_life=0)), "popular", NO_HISTORY) == "game"


def test_item_to_item_finds_what_goes_together() -> None:
    assert best(fitted(), "item_to_item", bought(("camera", 1, 3))) == "lens"


def test_similarity_by_hand() -> None:
    """Two users bought both, one only the camera: cosine over users weighted 1/sqrt(1 + products of the user), no damping."""
    rows = events().iloc[:0]
    when = CUT - timedelta(days=5)
    extra = [
        ("purchase", user, product, when, when) for user, product in [("a", "camera"), ("a", "lens"), ("b", "camera"), ("b", "lens"), ("c", "camera")]
    ]
    rows = pd.DataFrame(extra, columns=rows.columns)
    similar = cosine(Acts.before(rows, Products.of(PRODUCTS, CATEGORIES, CATEGORIES, VECTORS), CUT), len(PRODUCTS), shrink=0.0).toarray()
    assert similar[0, 1] == pytest.approx((2 / 3) / np.sqrt((2 / 3 + 1 / 2) * (2 / 3)), abs=1e-6)
    assert similar[0, 0] == 0


def test_next_item_by_hand() -> None:
    """Two users took the lens after the camera, one of them a film in between; the film's taker took nothing before."""
    order = [("a", "camera", 5), ("a", "lens", 4), ("b", "camera", 5), ("b", "film", 4), ("b", "lens", 3)]
    times = [CUT - timedelta(days=days) for *_, days in order]
    rows = pd.DataFrame([("purchase", user, product, at, at) for (user, product, _), at in zip(order, times, strict=True)], columns=events().columns)
    found = rules(
        Acts.before(rows, Products.of(PRODUCTS, CATEGORIES, CATEGORIES, VECTORS), CUT), len(PRODUCTS), step=0.5, back=0.1, shrink=0.0
    ).toarray()
    camera, lens, film = (PRODUCTS.index(name) for name in ("camera", "lens", "film"))
    assert found[camera, lens] == pytest.approx((1 + 0.5) / 2)
    assert found[lens, camera] == pytest.approx(0.1 * (1 + 0.5) / 2)
    assert found[film, lens] == pytest.approx(1 / np.sqrt(2))


def test_linear_is_the_ridge_regression_of_each_product_on_the_others() -> None:
    acts = Acts.before(events(), Products.of(PRODUCTS, CATEGORIES, CATEGORIES, VECTORS), CUT)
    taken = np.zeros((acts.user.max() + 1, len(PRODUCTS)))
    taken[acts.user, acts.item] = 1
    weights = Linear.fit(acts, Products.of(PRODUCTS, CATEGORIES, CATEGORIES, VECTORS), 0.0, 0.3, 1.0, penalty=2.0).weights.toarray()
    for product in range(len(PRODUCTS)):
        others = [other for other in range(len(PRODUCTS)) if other != product and taken[:, other].any()]
        matrix = taken[:, others]
        solved = np.linalg.solve(matrix.T @ matrix + 2.0 * np.eye(len(others)), matrix.T @ taken[:, product])
        np.testing.assert_allclose(weights[others, product], solved, atol=1e-5)


def test_the_sequential_retriever_learns_an_order_that_counts_alone_do_not_show() -> None:
    """Everybody takes everything; what follows is told by what came last."""
    ring, rows = PRODUCTS[:5], []
    for user in range(120):
        rows += [("purchase", f"u{user}", ring[(user + place) % 5], CUT - timedelta(days=20 - place)) for place in range(9)]
    frame = pd.DataFrame([(*row, row[-1]) for row in rows], columns=events().columns)
    products = Products.of(PRODUCTS, CATEGORIES, CATEGORIES, VECTORS)
    params = SequentialParams(negatives=8, batch=16, epochs=12)
    model = Sequential.fit(Acts.before(frame, products, CUT), products, params, seed=3)
    found = RetrieverSet(products, {**fitted().fitted, "sequential": model}, Params(), True, WEIGHTS, "v1")
    again = Sequential.fit(Acts.before(frame, products, CUT), products, params, seed=3, start=model)
    assert again.epochs == model.epochs > 1
    for place in range(5):
        history = bought((ring[place], 1, 1), (ring[place - 1], 1, 2), (ring[place - 2], 1, 3))
        assert best(found, "sequential", history) == ring[(place + 1) % 5]


def test_long_histories_are_cut_into_pieces_that_overlap_by_one_step() -> None:
    when = [CUT - timedelta(days=days) for days in range(7, 0, -1)]
    names = ["camera", "lens", "film", "film", "game", "tripod", "camera"]
    rows = pd.DataFrame([("purchase", "a", name, at, at) for name, at in zip(names, when, strict=True)], columns=events().columns)
    steps = Steps.of(Acts.before(rows, Products.of(PRODUCTS, CATEGORIES, CATEGORIES, VECTORS), CUT), len(PRODUCTS), length=3)
    assert [[PRODUCTS[item] for item in steps.items[begin:end]] for begin, end in steps.bounds] == [
        ["film", "game", "tripod", "camera"], ["camera", "lens", "film"],
    ]  # fmt: skip


def test_embedding_finds_what_reads_alike_and_what_is_liked() -> None:
    retrievers = fitted()
    scores = retrievers.scores("embedding", bought(("camera", 1, 3)), CUT)
    assert scores[PRODUCTS.index("unsold")] > scores[PRODUCTS.index("tripod")] > scores[PRODUCTS.index("game")]
    likes = np.zeros((2, len(SIGNALS)), np.float32)
    likes[0, SIGNALS.index("like")] = likes[1, SIGNALS.index("dislike")] = 1.0
    stated = Interests(("category:Films", "category:Games"), likes, np.zeros(2))
    scores = retrievers.scores("embedding", NO_HISTORY, CUT, stated)
    assert np.argmax(scores) == PRODUCTS.index("film") and scores[PRODUCTS.index("game")] == -np.inf


def test_social_proposes_what_the_circle_chose_and_nothing_else() -> None:
    circle = chosen(("gone", 9, 9), ("lens", 0.5, 1), ("film", 0.4, 4))
    scores = fitted().scores("social", bought(("camera", 1, 3)), CUT, NO_INTERESTS, circle)
    assert [PRODUCTS[place] for place in np.argsort(-scores)[:2]] == ["lens", "film"] and np.isfinite(scores).sum() == 2
    agreed = fitted(Params(social_agreement=0.5)).scores("social", NO_HISTORY, CUT, NO_INTERESTS, circle)
    assert np.argmax(agreed) == PRODUCTS.index("film"), "several who agree count for more"
    assert np.isneginf(fitted().scores("social", bought(("camera", 1, 3)), CUT)).all(), "nobody is tied"
    found = fitted().retrieve(NO_HISTORY, CUT, 4, circle=circle)
    assert found.ranks[found.index.tolist().index(PRODUCTS.index("lens")), RETRIEVERS.index("social")] == 1


def test_what_the_circle_chose_is_not_proposed_to_whoever_has_it_where_nobody_buys_again() -> None:
    found = fitted(repeat_buying=False).scores("social", bought(("camera", 1, 3)), CUT, NO_INTERESTS, chosen(("camera", 1, 2), ("lens", 0.1, 1)))
    assert np.isneginf(found[PRODUCTS.index("camera")]) and np.isfinite(found[PRODUCTS.index("lens")])


def test_repeat_goes_by_frequency_then_recency() -> None:
    history = bought(("camera", 1, 3), ("lens", 2, 200), ("film", 1, 40))
    scores = fitted(Params(repeat_half_life=0)).scores("repeat", history, CUT)
    assert scores[1] > scores[0] > scores[2] and np.isneginf(scores[3])
    assert best(fitted(Params(repeat_half_life=30)), "repeat", history) == "camera"


def test_merged_candidates() -> None:
    found = fitted().retrieve(bought(("camera", 1, 3)), CUT, 4)
    names = [PRODUCTS[position] for position in found.index]
    assert len(set(names)) == len(names) == 4 and names[0] == "camera"
    assert found.scores.shape == found.ranks.shape == (4, len(RETRIEVERS))
    assert np.array_equal(np.isnan(found.scores), np.isnan(found.ranks))
    assert found.ranks[0, RETRIEVERS.index("repeat")] == 1


def test_new_users_get_popular_products() -> None:
    found = fitted(Params(popular_half_life=7)).retrieve(NO_HISTORY, CUT, 3)
    assert PRODUCTS[found.index[0]] == "film"
    assert np.isnan(found.scores[:, 1:]).all()


def test_bought_products_are_left_out_where_nobody_buys_again() -> None:
    found = fitted(repeat_buying=False).retrieve(bought(("camera", 1, 3)), CUT, 6)
    assert "camera" not in [PRODUCTS[position] for position in found.index]


@pytest.mark.parametrize("repeat_buying", [True, False])
def test_barred_products_are_proposed_by_none_and_leave_their_places_to_others(repeat_buying: bool) -> None:
    retrievers, history = fitted(repeat_buying=repeat_buying), bought(("camera", 1, 3))
    free = retrievers.retrieve(history, CUT, len(PRODUCTS)).index
    found = retrievers.retrieve(history, CUT, 2, barred=free[:2]).index
    assert found.tolist() == [each for each in retrievers.retrieve(history, CUT, len(PRODUCTS), barred=free[:2]).index if each not in free[:2]][:2]
    assert len(found) == min(2, len(free) - 2) and not np.isin(found, free[:2]).any()


def test_a_shop_without_events_proposes_its_catalogue() -> None:
    assert len(fitted(rows=events().iloc[:0]).retrieve(NO_HISTORY, CUT, 4).index) == 4


def test_an_empty_catalogue_proposes_nothing() -> None:
    products = Products.of([], [], [], np.zeros((0, 3), np.float32))
    retrievers = Fitter.before(events(), products, CUT, seed=1).set(Params(), True, WEIGHTS, "v1")
    assert len(retrievers.retrieve(bought(("camera", 1, 3)), CUT, 10).index) == 0


def test_what_came_after_the_cut_changes_nothing() -> None:
    """Leakage: events that happen, or arrive, after the cut."""
    late = pd.DataFrame(
        [
            ("purchase", "u9", "game", CUT + timedelta(days=1), CUT + timedelta(days=1)),
            ("purchase", "u9", "camera", CUT - timedelta(days=1), CUT + timedelta(days=1)),
        ],
        columns=events().columns,
    )
    history = bought(("camera", 1, 3))
    before, after = fitted().retrieve(history, CUT, 6), fitted(rows=pd.concat([events(), late])).retrieve(history, CUT, 6)
    np.testing.assert_array_equal(before.index, after.index)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_new_products_are_proposed_by_their_text() -> None:
    later = Products.of(["camera", "camera II"], ["Photo", "Photo"], ["", ""], np.array([[1, 0, 0], [2, 0.01, 0]], np.float32))
    retrievers = fitted().extend(later)
    assert list(retrievers.product_ids) == [*PRODUCTS, "camera II"]
    found = retrievers.retrieve(bought(("camera", 1, 3)), CUT, 7)
    row = found.index.tolist().index(len(PRODUCTS))
    assert found.ranks[row, RETRIEVERS.index("embedding")] <= 2
    assert np.isnan(found.scores[row, RETRIEVERS.index("popular")])


def test_saved_and_loaded_it_proposes_the_same_and_refuses_a_change(tmp_path: Path) -> None:
    retrievers = fitted()
    retrievers.save(tmp_path)
    ModelFolder.write(tmp_path, ModelMeta("retriever", "set"))
    loaded = RetrieverSet.load(tmp_path)
    for history in (NO_HISTORY, bought(("camera", 1, 3), ("film", 1, 4))):
        before, after = retrievers.retrieve(history, CUT, 6), loaded.retrieve(history, CUT, 6)
        np.testing.assert_array_equal(before.index, after.index)
        np.testing.assert_array_equal(before.scores, after.scores)
    (tmp_path / "retrievers.json").write_text((tmp_path / "retrievers.json").read_text().replace("30.0", "31.0"))
    with pytest.raises(TrainingError, match=r"retrievers\.json"):
        RetrieverSet.load(tmp_path)


def test_last_steps_are_kept_back_from_sequences_that_can_spare_them() -> None:
    bounds = np.array([[start, start + length] for start, length in zip(range(0, 100, 5), [2, 5] * 10, strict=True)])
    steps = Steps(np.arange(100), np.zeros(100, np.int64), np.zeros(100, np.int64), bounds, 100)
    learned, watched = steps.parted(np.random.default_rng(0))
    assert len(learned) == 20 and len(watched) == 20 // KEPT_BACK
    shorter = (learned.bounds != bounds)[:, 1]
    assert (learned.bounds[shorter, 1] == bounds[shorter, 1] - 1).all() and shorter.sum() == len(watched)
    assert (watched.bounds == bounds[shorter]).all() and (bounds[shorter, 1] - bounds[shorter, 0] == 5).all()


def test_gaps_between_steps_have_a_code_whatever_their_times() -> None:
    """Neither of two products of a history may have a time, as in what MLflow is asked."""
    assert gap_codes(np.array([0.0, 0.4, 1.0, 2.0, 1e9, np.inf, -np.inf, np.nan])).tolist() == [0, 0, 1, 2, GAPS - 1, GAPS - 1, 0, 0]
