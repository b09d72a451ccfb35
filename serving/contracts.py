"""Every request, response and error shape of the service. docs/api.md shows them with real answers.

Requests are read strictly: a number is not taken from a string, and a field that is not declared here is an error, so that a
misspelt one is not passed over in silence.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from feature_repo.events import EventType
from feature_repo.values import EARLIEST

MAX_ITEMS = 100
MAX_PRODUCTS = 50
MAX_EVENTS = 500
MAX_VARIANTS = 5
MAX_WRITTEN = 100
"""Texts that one content request may ask for: products times variants."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An id as the shop writes it: 1 to 200 characters, no control characters."""
Surface = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Language = Literal["en", "zh"]
Channel = Literal["title", "push", "email", "article"]
Tone = Literal["plain", "warm", "playful", "expert"]
Policy = Literal["default", "popular"]
CopyArm = Literal["personalised", "plain"]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra={"additionalProperties": False})


class Response(BaseModel):
    model_config = ConfigDict(frozen=True)


Price = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Bound = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
LOWEST = "Lowest price to show, in the shop's currency; 0 is no bound, with any other one products without a price are left out."
HIGHEST = "Highest price to show; as for min_price."


class ShelfRequest(Request):
    """What asks for a shelf has in common."""

    min_price: Bound | None = Field(None, description=LOWEST)
    max_price: Price | None = Field(None, description=HIGHEST)

    @model_validator(mode="after")
    def _a_price_between(self) -> Self:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError(f"min_price {self.min_price:g} is above max_price {self.max_price:g}")
        return self


class RecommendationsRequest(ShelfRequest):
    """A shelf for one shopper."""

    user_id: Id = Field(description="The shop's own id of the shopper.", examples=["c-0031"])
    n: int = Field(10, ge=1, le=MAX_ITEMS, description="Items wanted.")
    surface: Surface = Field("home", description="Where the shelf is shown.")
    policy: Policy = Field("default", description="`popular` leaves the shopper out of it: the arm to compare with.")


class ContentRequest(Request):
    """Copy for products and one shopper."""

    user_id: Id = Field(description="The shop's own id of the shopper.", examples=["c-0031"])
    product_ids: tuple[Id, ...] = Field(min_length=1, max_length=MAX_PRODUCTS, strict=False, description="Products to write about.")
    channel: Channel = Field("title", description="`email` has a subject and a body, the others a text.")
    language: Language | None = Field(None, description="Left out: the shopper's own.")
    n: int = Field(1, ge=1, le=MAX_VARIANTS, description="Variants per product.")
    tone: Tone | None = Field(None, description="Left out: chosen for the shopper.")
    copy_arm: CopyArm = Field("personalised", alias="copy", description="`plain` leaves the shopper out of it: the arm to compare with.")

    @model_validator(mode="after")
    def _not_too_many(self) -> "ContentRequest":
        if len(self.product_ids) * self.n > MAX_WRITTEN:
            raise ValueError(f"asks for {len(self.product_ids) * self.n} texts; at most {MAX_WRITTEN} are written for one request")
        return self


class FeedRequest(ShelfRequest):
    """A shelf with copy for one shopper."""

    user_id: Id = Field(description="The shop's own id of the shopper.", examples=["c-0031"])
    n: int = Field(10, ge=1, le=MAX_PRODUCTS, description="Items wanted.")
    language: Language | None = Field(None, description="Left out: the shopper's own.")
    surface: Surface = Field("feed", description="Where the shelf is shown.")
    policy: Policy = Field("default", description="As for recommendations.")
    copy_arm: CopyArm = Field("personalised", alias="copy", description="As for content.")
    tone: Tone | None = Field(None, description="Left out: chosen for the shopper.")


class ProfileRequest(Request):
    """The explained profile of one shopper."""

    user_id: Id = Field(description="The shop's own id of the shopper.", examples=["c-0031"])


class PostedEvent(Request):
    """One event as the shop posts it; docs/data.md explains every field."""

    event_id: Id = Field(description="Unique: an event posted again with the same id counts once.")
    event_type: EventType = Field(strict=False)
    user_id: Id | None = Field(None, description="The shop's own id; left out = anonymous.")
    product_id: Id | None = Field(None, description="May be left out for `unsubscribe` only.")
    event_time: AwareDatetime = Field(strict=False, description="ISO 8601 with an offset.", examples=["2024-05-04T12:30:00+02:00"])
    sequence: int = Field(0, ge=0, lt=2**63, description="Breaks ties of event_time.")
    quantity: float | None = Field(None, gt=0, le=1e9, allow_inf_nan=False)
    price: float | None = Field(None, ge=0, le=1e9, allow_inf_nan=False)
    rating: float | None = Field(None, ge=1, le=5)
    request_id: Id | None = Field(None, description="Of the answer that was shown or acted on.")
    position: int | None = Field(None, ge=1, le=100_000)
    channel: Surface | None = Field(None, description="site, push, email and so on; the one to stop for `unsubscribe`.")
    session_id: Id | None = None
    context: dict[str, Any] | None = Field(None, description="Anything else; `tone` and `aspect` of the copy that was shown.")

    @field_validator("event_time", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """A bare number would be taken for seconds, or milliseconds, since 1970: nobody can tell which was meant."""
        if not isinstance(value, datetime) and not (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]", value)):
            raise ValueError("must be ISO 8601 text with an offset, such as 2024-05-04T12:30:00Z")
        return value

    @field_validator("event_time")
    @classmethod
    def _early(cls, value: datetime) -> datetime:
        if value.year < EARLIEST.year:
            raise ValueError(f"is before {EARLIEST.year}")
        return value


class EventsRequest(Request):
    """Events to keep. Each is checked by itself: a wrong one is turned down and the others are kept."""

    events: list[Any] = Field(
        min_length=1, max_length=MAX_EVENTS, json_schema_extra={"items": {"$ref": "#/components/schemas/PostedEvent"}}, description="1 to 500 events."
    )


class Why(Response):
    """A reason that a shopper may read. `code` stays the same when words change."""

    code: str
    text: str
    text_zh: str


class ShelfItem(Response):
    product_id: str
    score: float = Field(description="Compares items of one answer and nothing else.")
    rank: int = Field(description="From 1.")
    reasons: list[Why]
    title: str | None = None
    title_zh: str | None = None
    category: str | None = None
    category_zh: str | None = None
    brand: str | None = None
    image_url: str | None = None
    price: float | None = None
    currency: str | None = None


class RecommendationsResponse(Response):
    request_id: str
    items: list[ShelfItem]
    models: dict[str, str] = Field(description="Content version of every model that took part.")
    degraded: list[str] = Field(description="Fallbacks that were taken; empty when all is as it should be.")
    policy: str = "default"


class Fact(Response):
    """A fact of the product that the text states."""

    name: str
    value: str = Field(description="As it stands in the text.")
    source: str = Field(description="Column of the catalogue that it comes from.")
    product_id: str


class Variant(Response):
    """One text: `text`, or `subject` and `body` for an e-mail."""

    product_id: str
    product_ids: list[str] = Field(description="All products that the text is about; up to 12 for an article.")
    channel: str
    language: str
    tone: str
    aspects: list[str]
    text: str | None = None
    subject: str | None = None
    body: str | None = None
    facts: list[Fact]
    backend: str = Field(description="`writer`: the trained model; `template`: its fallback.")


class ContentResponse(Response):
    request_id: str
    variants: list[Variant]
    models: dict[str, str]
    degraded: list[str]


class FeedItem(ShelfItem):
    written: Variant | None = Field(serialization_alias="copy", description="What to show with it; null where nothing can be said.")


class FeedResponse(Response):
    request_id: str
    items: list[FeedItem]
    models: dict[str, str]
    degraded: list[str]
    policy: str = "default"


class EvidenceShown(Response):
    """`value`: decayed count of what was done, before the signal's weight."""

    signal: str
    value: float


class InterestShown(Response):
    """`weight` = `behaviour` + `social` + `preference`; negative where the shopper does not want it."""

    kind: str
    subject: str
    weight: float
    behaviour: float
    social: float
    preference: float
    evidence: list[EvidenceShown]


class ProfileResponse(Response):
    request_id: str
    user_id: str
    known: bool = Field(description="Whether anything is known of them; a new shopper has an empty profile.")
    language: str | None
    price_level: float | None = Field(description="Mean place in its category's prices of what they acted on: 0 cheapest, 1 dearest.")
    signal_weights: dict[str, float]
    interests: list[InterestShown]
    models: dict[str, str]
    degraded: list[str]


class Rejected(Response):
    index: int = Field(description="Place in the request, from 0.")
    event_id: str | None
    code: str
    message: str


class EventsResponse(Response):
    request_id: str
    accepted: list[str] = Field(description="Ids that are on disk now.")
    duplicates: list[str] = Field(description="Ids that were kept before.")
    rejected: list[Rejected]


class ShopResponse(Response):
    """What the front page needs to know."""

    request_id: str
    shop: str
    name: str
    now: datetime = Field(description="The shop's clock.")
    features: str = Field(description="The build of the features in use, and the hour it is read as of.")
    languages: list[str]
    products: int
    sample_shoppers: list[str] = Field(description="Ids to try; only a simulated shop has them.")
    key_required: bool
    models: dict[str, str]


class Health(Response):
    status: str
    shop: str
    models: dict[str, str]


class ErrorBody(Response):
    code: str = Field(description="Stays the same when words change; docs/api.md lists them.")
    message: str
    request_id: str
    details: list[dict[str, Any]] = []


class ErrorResponse(Response):
    """Every answer of 400 and above."""

    error: ErrorBody
