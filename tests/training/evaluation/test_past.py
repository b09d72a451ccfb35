"""What had happened before a cut, on four products and four users."""

import numpy as np
import pandas as pd

from training.evaluation.past import Past
from training.retrieval.contract import Products

PRODUCTS = Products.of(list("abcd"), ["x", "x", "y", None], [None] * 4, np.zeros((4, 2), np.float32))
CUT = pd.Timestamp("2024-02-01", tz="UTC")


def past() -> Past:
    """Of four users three took a, one of them b as well, and one took c; what came after the cut, views and the unknown count nothing."""
    rows = [("u", "a"), ("u", "a"), ("v", "a"), ("w", "a"), ("w", "b"), ("z", "c"), (None, "d"), ("u", "unknown")]
    events = pd.DataFrame(rows, columns=["user_id", "product_id"]).assign(event_type="purchase", event_time=CUT - pd.Timedelta(days=1))
    later = pd.DataFrame([("u", "d", "purchase", CUT), ("u", "d", "view", CUT - pd.Timedelta(days=1))], columns=[*events.columns[:3], "event_time"])
    prices = {"a": 0.0, "b": 1.0, "c": 0.5}

    def reader(entity: str, frame: pd.DataFrame) -> pd.DataFrame:
        assert entity == "product" and (frame["event_timestamp"] < CUT).all()
        return frame.assign(product_price_rank=frame["product_id"].map(prices))

    return Past.of(pd.concat([events, later]), "purchase", CUT, PRODUCTS, reader)


def test_the_past_counts_users_once_and_only_what_was_before() -> None:
    found = past()
    assert found.taken.tolist() == [3, 1, 1, 0] and found.users == 4
    assert found.price_rank[:3].tolist() == [0.0, 1.0, 0.5] and np.isnan(found.price_rank[3])
    user, item = found.histories([frozenset("ab"), frozenset(), frozenset(["c", "unknown"])])
    assert user.tolist() == [0, 0, 2] and item.tolist() == [0, 1, 2]
    assert sorted(zip(found.user.tolist(), found.item.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 0), (2, 1), (3, 2)]
