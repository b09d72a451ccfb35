"""Who and what is new, on three products of which one came later."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from feature_repo.online import NO_CIRCLE, NO_HISTORY, NO_INTERESTS
from training.dataset import Audience, Person
from training.evaluation.cold_start import cold_start
from training.evaluation.past import Past
from training.evaluation.stack import Answer
from training.retrieval.contract import Products
from training.retrieval.model import Params
from training.retrieval.train import Fitter

CUT = datetime(2026, 3, 1, tzinfo=UTC)
KNOWN = Products.of(["lamp", "mug"], ["Home", "Kitchen"], [None] * 2, np.eye(2, dtype=np.float32))
LATER = Products.of(["bowl"], ["Kitchen"], [None], np.eye(2, dtype=np.float32)[1:])
METHODS = {"popularity": "popular", "text embedding": "embedding"}


class NewestFirst:
    """A recommender that proposes the last product of the catalogue first."""

    def __init__(self) -> None:
        rows = [(f"u{n}", "mug" if n else "lamp", CUT - timedelta(days=2 + n)) for n in range(6)]
        self.events = pd.DataFrame(rows, columns=["user_id", "product_id", "event_time"]).assign(event_type="purchase")
        fitted = Fitter.before(self.events, KNOWN, CUT, 1).set(Params(), True, [0.1] * 8, "v1")
        self.retrievers = fitted.extend(LATER)

    def answers(self, people: Sequence[Person]) -> list[Answer]:
        return [Answer(np.array([2, 1, 0], np.int32), np.array([3, 2, 1], np.float32)) for _ in people]


def audience(*wanted: set[str], before: set[str] = frozenset()) -> Audience:
    people = tuple(Person(f"n{n}", CUT.timestamp(), np.zeros(1, np.float32), NO_INTERESTS, NO_HISTORY, NO_CIRCLE, {}) for n in range(len(wanted)))
    return Audience(people, tuple(frozenset(each) for each in wanted), (frozenset(before),) * len(wanted))


def test_each_kind_of_new_is_measured_apart() -> None:
    stack = NewestFirst()
    past = Past.of(stack.events, "purchase", CUT, stack.retrievers.products, lambda entity, frame: frame.assign(product_price_rank=np.nan))
    assert past.taken.tolist() == [1, 5, 0]
    known = audience({"mug"}, {"bowl", "lamp"}, before={"mug"})
    found = {part.title: part for part in cold_start(stack, known, audience({"mug"}, {"bowl"}), past, METHODS, "popularity", 1)}
    assert {name: (part.users, part.targets) for name, part in found.items()} == {
        "new users": (2, 2), "new users, new products": (1, 1), "new products, known users": (1, 1),
    }  # fmt: skip
    assert found["new users, new products"].methods["ranker"]["ndcg_10"].value == 1.0
    assert found["new products, known users"].methods["popularity"]["hr_10"].value == 0.0  # nobody took it, so it is not popular
    assert found["new users"].methods["popularity"]["hr_10"].value == 0.5


def test_without_anybody_new_there_are_no_figures() -> None:
    stack = NewestFirst()
    past = Past.of(stack.events, "purchase", CUT, stack.retrievers.products, lambda entity, frame: frame.assign(product_price_rank=np.nan))
    assert cold_start(stack, audience({"mug"}), audience(), past, METHODS, "popularity", 1) == ()
