"""What the API takes and what it turns down."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from serving import contracts

RECOMMEND = {"user_id": "c-0031"}
CONTENT = {"user_id": "c-0031", "product_ids": ["00017"]}
EVENT = {"event_id": "e-1", "event_type": "view", "user_id": "c-0031", "product_id": "00017", "event_time": "2024-05-04T12:30:00+02:00"}


def test_defaults() -> None:
    asked = contracts.RecommendationsRequest.model_validate(RECOMMEND)
    assert (asked.n, asked.surface, asked.policy) == (10, "home", "default")
    content = contracts.ContentRequest.model_validate(CONTENT)
    assert (content.channel, content.language, content.n, content.tone, content.copy_arm) == ("title", None, 1, None, "personalised")


@pytest.mark.parametrize("user_id", ["c-0031", "客户-7", "12748.0", "a b", "x" * 200, "' OR 1=1 --", "../../etc/passwd"])
def test_ids_are_taken_as_the_shop_writes_them(user_id: str) -> None:
    assert contracts.ProfileRequest.model_validate({"user_id": user_id}).user_id == user_id


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (contracts.RecommendationsRequest, {}, "user_id"),
        (contracts.RecommendationsRequest, {"user_id": ""}, "user_id"),
        (contracts.RecommendationsRequest, {"user_id": "x" * 201}, "user_id"),
        (contracts.RecommendationsRequest, {"user_id": "a\n"}, "user_id"),
        (contracts.RecommendationsRequest, {"user_id": "a\x00b"}, "user_id"),
        (contracts.RecommendationsRequest, {"user_id": 12748}, "user_id"),
        (contracts.RecommendationsRequest, {"user_id": ["c-0031"]}, "user_id"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": 0}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": 101}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": -1}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": "3"}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": 3.5}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": True}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "n": 10**400}, "n"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "policy": "best"}, "policy"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "surface": "Home page!"}, "surface"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "usr": 1}, "usr"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "min_price": -1}, "min_price"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "max_price": 0}, "max_price"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "max_price": "20"}, "max_price"),
        (contracts.RecommendationsRequest, {**RECOMMEND, "max_price": float("inf")}, "max_price"),
        (contracts.FeedRequest, {**RECOMMEND, "min_price": float("nan")}, "min_price"),
        (contracts.ContentRequest, {**CONTENT, "product_ids": []}, "product_ids"),
        (contracts.ContentRequest, {**CONTENT, "product_ids": ["a"] * 51}, "product_ids"),
        (contracts.ContentRequest, {**CONTENT, "product_ids": "00017"}, "product_ids"),
        (contracts.ContentRequest, {**CONTENT, "channel": "fax"}, "channel"),
        (contracts.ContentRequest, {**CONTENT, "language": "de"}, "language"),
        (contracts.ContentRequest, {**CONTENT, "tone": "loud"}, "tone"),
        (contracts.ContentRequest, {**CONTENT, "copy": "none"}, "copy"),
        (contracts.ContentRequest, {**CONTENT, "n": 6}, "n"),
        (contracts.EventsRequest, {"events": []}, "events"),
        (contracts.EventsRequest, {"events": [{}] * 501}, "events"),
        (contracts.EventsRequest, {"events": EVENT}, "events"),
        (contracts.PostedEvent, {**EVENT, "event_type": "hover"}, "event_type"),
        (contracts.PostedEvent, {**EVENT, "event_time": "2024-05-04T12:30:00"}, "event_time"),
        (contracts.PostedEvent, {**EVENT, "event_time": "2024-05-04"}, "event_time"),
        (contracts.PostedEvent, {**EVENT, "event_time": 1714825800}, "event_time"),
        (contracts.PostedEvent, {**EVENT, "event_time": "1714825800"}, "event_time"),
        (contracts.PostedEvent, {**EVENT, "price": -1}, "price"),
        (contracts.PostedEvent, {**EVENT, "price": float("nan")}, "price"),
        (contracts.PostedEvent, {**EVENT, "price": float("inf")}, "price"),
        (contracts.PostedEvent, {**EVENT, "rating": 6}, "rating"),
        (contracts.PostedEvent, {**EVENT, "rating": float("nan")}, "rating"),
        (contracts.PostedEvent, {**EVENT, "position": 0}, "position"),
        (contracts.PostedEvent, {**EVENT, "context": [1]}, "context"),
        (contracts.PostedEvent, {**EVENT, "arrived_at": "2024-05-04T12:30:00Z"}, "arrived_at"),
    ],
)
def test_wrong_values_are_named(model: type[BaseModel], body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        model.model_validate(body)
    assert error.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("model", [contracts.RecommendationsRequest, contracts.FeedRequest])
def test_price_bounds(model: type[contracts.ShelfRequest]) -> None:
    assert (model.model_validate(RECOMMEND).min_price, model.model_validate(RECOMMEND).max_price) == (None, None)
    asked = model.model_validate({**RECOMMEND, "min_price": 20, "max_price": 20.0})
    assert (asked.min_price, asked.max_price) == (20.0, 20.0)
    with pytest.raises(ValidationError, match="min_price 30 is above max_price 20"):
        model.model_validate({**RECOMMEND, "min_price": 30, "max_price": 20})


def test_an_event_s_time_keeps_its_moment() -> None:
    assert contracts.PostedEvent.model_validate(EVENT).event_time == datetime(2024, 5, 4, 10, 30, tzinfo=UTC)
