"""The stack answers for whoever asks: ranked where something is known, popular where nothing is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from feature_repo.online import NO_CIRCLE, NO_HISTORY, NO_INTERESTS, Circle, History
from training.dataset import Person
from training.evaluation.behaviour import stranger
from training.evaluation.stack import Answer, Stack, unknown
from training.retrieval.contract import Products
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import Fitter

CUT = datetime(2026, 3, 1, tzinfo=UTC)
PRODUCTS = Products.of(["lamp", "mug", "pan"], ["Home", "Kitchen", "Kitchen"], [None] * 3, np.eye(3, dtype=np.float32))


@cache
def retrievers() -> RetrieverSet:
    """Everybody bought the mug, some the pan."""
    rows = [(f"u{n}", "mug", 2 + n) for n in range(6)] + [(f"u{n}", "pan", 3 + n) for n in range(3)]
    times = [CUT - timedelta(days=days) for _, _, days in rows]
    frame = pd.DataFrame({"event_type": "purchase", "user_id": [u for u, _, _ in rows], "product_id": [p for _, p, _ in rows]})
    return Fitter.before(frame.assign(event_time=times, arrived_at=times), PRODUCTS, CUT, 1).set(Params(), True, [0.1] * 8, "v1")


def person(scalars: float, *products: str) -> Person:
    at = np.full(len(products), CUT.timestamp() - 86400.0)
    history = History(products, np.ones(len(products), np.float32), at, at) if products else NO_HISTORY
    return Person("u", CUT.timestamp(), np.full(2, scalars, np.float32), NO_INTERESTS, history, NO_CIRCLE, {})


def test_who_is_unknown() -> None:
    assert unknown(person(np.nan)) and unknown(stranger(person(1.0, "mug")))
    assert unknown(person(0.0)), "somebody who registered and did nothing"
    assert not unknown(person(1.0)) and not unknown(person(np.nan, "mug"))
    circle = Circle(("mug",), np.ones(1, np.float32), np.ones(1, np.float32))
    assert not unknown(replace(person(0.0), circle=circle))


def test_somebody_unknown_gets_what_everybody_buys_without_a_feature_being_read() -> None:
    def reader(entity: str, frame: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError("nothing to read")

    stack = Stack(retrievers(), np.zeros(8, np.float32), None, reader, 2)
    (answer,) = stack.answers([person(np.nan)])
    assert [str(PRODUCTS.ids[product]) for product in answer.ranking()] == ["mug", "pan"]


def test_what_the_circle_chose_is_among_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline as in the service: a circle that is not passed on would go unseen."""
    monkeypatch.setattr(
        "training.evaluation.stack.feature_rows", lambda slates, *_: [np.zeros((len(slate.product_ids), 1), np.float32) for slate in slates]
    )
    ranker = cast(Any, SimpleNamespace(score=lambda rows, categories: np.zeros(len(rows), np.float32)))
    stack = Stack(retrievers(), np.zeros(8, np.float32), ranker, cast(Any, None), 1)
    tied = replace(person(0.0), circle=Circle(("lamp",), np.ones(1, np.float32), np.ones(1, np.float32)))
    assert [str(PRODUCTS.ids[answer.index[0]]) for answer in stack.answers([person(0.0), tied])] == ["mug", "lamp"]


def test_a_wider_catalogue_keeps_the_rest() -> None:
    stack = Stack(retrievers(), np.zeros(8, np.float32), None, None, 2)
    wider = stack.over(Products.of(["lamp", "bowl"], ["Home", "Kitchen"], [None] * 2, np.eye(3, dtype=np.float32)[:2]))
    assert wider.retrievers.product_ids.tolist() == ["lamp", "mug", "pan", "bowl"] and wider.candidates == 2


def test_equal_scores_stay_as_they_were_proposed() -> None:
    answer = Answer(np.array([5, 3, 4], np.int32), np.array([1.0, 1.0, 2.0], np.float32))
    assert answer.ranking().tolist() == [4, 5, 3] and answer.ranking(1).tolist() == [4]
