"""One contract for all retrievers, on a shop whose right answers are known."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.declarations import RETRIEVERS, SIGNALS
from feature_repo.online import NO_HISTORY, History, Interests
from training.errors import TrainingError
from training.registry import ModelFolder, ModelMeta
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import fit

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
    products = pd.DataFrame({"product_id": PRODUCTS, "category": CATEGORIES, "brand": [None] * len(PRODUCTS)})
    return fit(events() if rows is None else rows, products, VECTORS, CUT, params or Params(), repeat_buying, WEIGHTS, "v1")


def bought(*products: tuple[str, float, float]) -> History:
    """Products with count and days before the cut."""
    times = np.array([(CUT - timedelta(days=days)).timestamp() for _, _, days in products])
    counts = np.array([count for _, count, _ in products], np.float32)
    return History(tuple(product for product, _, _ in products), counts, times, np.zeros(len(products)))


def best(retrievers: RetrieverSet, name: str, history: History) -> str:
    return str(retrievers.product_ids[np.argmax(retrievers.scores(name, history, CUT))])


@pytest.mark.parametrize("name", RETRIEVERS)
@pytest.mark.parametrize("history", [NO_HISTORY, bought(("camera", 1, 3)), bought(("gone", 1, 3))], ids=["nobody", "camera", "unknown product"])
def test_contract(name: str, history: History) -> None:
    scores = fitted().scores(name, history, CUT)
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
    similar = fitted(Params(similar_shrink=0.0), rows=rows).fitted.similar.toarray()
    assert similar[0, 1] == pytest.approx((2 / 3) / np.sqrt((2 / 3 + 1 / 2) * (2 / 3)), abs=1e-6)
    assert similar[0, 0] == 0


def test_embedding_finds_what_reads_alike_and_what_is_liked() -> None:
    retrievers = fitted()
    scores = retrievers.scores("embedding", bought(("camera", 1, 3)), CUT)
    assert scores[PRODUCTS.index("unsold")] > scores[PRODUCTS.index("tripod")] > scores[PRODUCTS.index("game")]
    likes = np.zeros((2, len(SIGNALS)), np.float32)
    likes[0, SIGNALS.index("like")] = likes[1, SIGNALS.index("dislike")] = 1.0
    stated = Interests(("category:Films", "category:Games"), likes, np.zeros(2))
    scores = retrievers.scores("embedding", NO_HISTORY, CUT, stated)
    assert np.argmax(scores) == PRODUCTS.index("film") and scores[PRODUCTS.index("game")] == -np.inf


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


def test_a_shop_without_events_proposes_its_catalogue() -> None:
    assert len(fitted(rows=events().iloc[:0]).retrieve(NO_HISTORY, CUT, 4).index) == 4


def test_an_empty_catalogue_proposes_nothing() -> None:
    products = pd.DataFrame({"product_id": [], "category": [], "brand": []}, dtype=object)
    retrievers = fit(events(), products, np.zeros((0, 3), np.float32), CUT, Params(), True, WEIGHTS, "v1")
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
    retrievers = fitted().extend(["camera", "camera II"], np.array([[1, 0, 0], [2, 0.01, 0]], np.float32), ["Photo", "Photo"], ["", ""])
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
