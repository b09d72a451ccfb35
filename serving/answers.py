"""One method per question: reads the request, decides, writes the decision to the journal, answers. No HTTP in here."""

import asyncio
import logging
import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from feature_repo.event_log import EventLog
from feature_repo.events import Event
from feature_repo.home import Pseudonyms, ShopHome
from feature_repo.ingest import config
from feature_repo.journal import Content, Decision, Item, Journal, Kind
from feature_repo.online import UserReader, UserRow
from feature_repo.shop import ShopConfig
from feature_repo.store import fingerprint
from serving import contracts, metrics
from serving.catalogue import plain_text
from serving.compose import Composer, ComposeRequest
from serving.compose import Variant as Written
from serving.consent import Consent
from serving.errors import ApiError
from serving.patience import Patience
from serving.reasons import GROUPS, impersonal
from serving.recommend import Recommender, Shelf, StageClock, Wish
from serving.release import Release, bundle_folder
from serving.settings import ServingSettings
from serving.snapshot import Keeper, Snapshot
from serving.unsubscribe import read_token
from training.content.facts import money_text
from training.content.policy import Policy
from training.profile import Profile
from training.ranker.policy import RULES

log = logging.getLogger(__name__)

SAMPLES = 6
"""Shoppers offered on the front page of the simulated shop."""
FEED_CHANNEL = "push"
"""What is written beside an item of the feed: one or two sentences."""


class Answers:
    """Everything one shop's service answers with. Build it with `open`; safe to call from several threads.

    Users are pseudonyms in here; only the methods that take a request of `contracts` take the shop's own ids.
    """

    def __init__(
        self, home: ShopHome, settings: ServingSettings, release: Release, keeper: Keeper, users: UserReader, pseudonyms: Pseudonyms
    ) -> None:
        self.home, self.settings, self.release, self.keeper, self.users, self.pseudonyms = home, settings, release, keeper, users, pseudonyms
        self.recommender = Recommender(
            release.profiles, release.ranker, release.ranker.explainer(GROUPS), settings.candidates, settings.shelf_policy(), settings.retrieved,
            settings.retrieve_timeout_s,
        )  # fmt: skip
        policy = Policy.load(brands=keeper.current.catalogue.brands())
        self.composer, self.templates = Composer(release.writer, policy), Composer(None, policy)
        self._reads = Patience("user", settings.user_timeout_s)
        self._writes = Patience("writer", settings.write_timeout_s)
        self.journal = Journal(home.journal, settings.journal_limits())
        self.event_log = EventLog(home.events_db)
        self.shop_config: ShopConfig = config(home)
        self.models = dict(release.versions)
        self._consent: Consent | None = None
        self._random, self._sample = random.Random(), np.random.default_rng()
        self._lock = threading.Lock()
        self._clock = StageClock(metrics.observe_stage)

    @classmethod
    def open(cls, home: ShopHome, settings: ServingSettings) -> "Answers":
        """Load the release and the features, and start watching the home.

        Raises:
            StoryshelfError: no bundle, no features, models that don't fit the features or each other, or a lost key.
        """
        torch.set_num_threads(1)  # beside other work, more threads are many times slower
        release = Release.load(bundle_folder(home, settings.bundle), fingerprint("ranker_v1"))
        keeper = Keeper(home, release.retrievers, settings.reload_s, lambda _: metrics.FEATURES.set_to_current_time()).start()
        metrics.FEATURES.set_to_current_time()
        for kind, version in release.versions.items():
            metrics.MODELS.labels(kind, version).set(1)
        answers = cls(home, settings, release, keeper, UserReader(home), home.pseudonyms(settings))
        log.info("Shop '%s': %d products, models %s.", home.shop, len(keeper.current.matrix.product_ids), answers.models)
        return answers

    def close(self) -> None:
        """Write what the journal still holds and stop watching."""
        self.keeper.close()
        self._reads.close()
        self._writes.close()
        self.journal.close()
        if self._consent:
            self._consent.close()

    # What programs call: pseudonyms in, records out.

    def user(self, user_id: str) -> UserRow | None:
        with self._clock.stage("user"):
            return self.users.read(user_id, self.keeper.current.now().timestamp())

    def user_in_time(self, user_id: str) -> tuple[UserRow | None, bool]:
        """The user, and whether they could not be read: the store failed, or did not answer within STORYSHELF_USER_TIMEOUT_S."""
        try:
            return self._reads.run(lambda: self.user(user_id)), False
        except Exception as error:  # whatever a store raises: a shelf can be made without it
            return _unread(error)

    async def user_awaited(self, user_id: str) -> tuple[UserRow | None, bool]:
        """`user_in_time` for an event loop."""
        try:
            return await self._reads.wait(lambda: self.user(user_id)), False
        except Exception as error:  # the same
            return _unread(error)

    def shelf(self, user_id: str, wish: Wish, shop: Snapshot | None = None) -> Shelf:
        """Decide on at most wish.n products for a pseudonym.

        Raises:
            ApiError: the shop has no products (503, empty_catalogue).
        """
        return self._shelf(user_id, wish, shop or self.keeper.current, *self.user_in_time(user_id))

    def _shelf(self, user_id: str, wish: Wish, shop: Snapshot, user: UserRow | None, unread: bool) -> Shelf:
        if not len(shop.matrix.product_ids):
            raise ApiError(503, "empty_catalogue", f"Shop '{self.home.shop}' has no products: bring some and run `make features`.")
        return self.recommender.shelf(shop, user, user_id, wish, shop.now(), self._clock, unread)

    def write(
        self,
        shop: Snapshot,
        user: UserRow | None,
        profile: Profile,
        product_ids: Sequence[str],
        channel: str,
        language: str,
        n: int = 1,
        tone: str | None = None,
        personalised: bool = True,
    ) -> list[Written]:
        """Checked copy, `n` variants per product (or `n` articles about all of them); less where nothing can be said of a product. Waits for the
        writer as long as it takes."""
        return self._write(self.composer, shop, user, profile, product_ids, channel, language, n, tone, personalised)

    def write_in_time(
        self, shop: Snapshot, user: UserRow | None, profile: Profile, product_ids: Sequence[str], channel: str, language: str, **asked: Any
    ) -> tuple[list[Written], tuple[str, ...]]:
        """`write`, by templates alone where the writer takes longer than STORYSHELF_WRITE_TIMEOUT_S; and the fallback's name where it was taken."""
        about = (shop, user, profile, product_ids, channel, language)
        try:
            return self._writes.run(lambda: self._write(self.composer, *about, **asked)), ()
        except TimeoutError:
            log.error("The writer did not answer in time: templates take its place.")
            return self._write(self.templates, *about, **asked), ("slow_writer",)

    def _write(
        self,
        composer: Composer,
        shop: Snapshot,
        user: UserRow | None,
        profile: Profile,
        product_ids: Sequence[str],
        channel: str,
        language: str,
        n: int = 1,
        tone: str | None = None,
        personalised: bool = True,
    ) -> list[Written]:
        price = shop.matrix.column("product_price")
        books = [shop.catalogue.ledger(product, number(price[shop.matrix.index[product]])) for product in product_ids]
        request = ComposeRequest(
            tuple(book for book in books if book), channel, language, n, profile, tone, personalised, user.values() if user else None,
            seed=self._random.getrandbits(31),
        )  # fmt: skip
        with self._clock.stage(f"write_{channel}"):
            written = composer.compose(request)
        for each in written:
            metrics.TEXTS.labels(each.channel, each.language, each.backend).inc()
        return written

    def title(self, shop: Snapshot, product_id: str, language: str) -> str:
        """The product's name in the language, else in the shop's first, else its id; without HTML."""
        name = (shop.catalogue.text(product_id, "title_zh") if language == "zh" else None) or shop.catalogue.text(product_id, "title") or product_id
        return plain_text(name) or product_id

    def price_text(self, shop: Snapshot, product_id: str, language: str) -> str:
        """The price as copy says it ("£2.55"), empty where there is none."""
        price = number(shop.matrix.column("product_price")[shop.matrix.index[product_id]])
        return "" if price is None or not self.shop_config.currency else money_text(price, self.shop_config.currency, language)

    def language(self, asked: str | None, profile: Profile) -> str:
        """The language asked for, else the shopper's own, else the shop's first."""
        own = (profile.language or "")[:2].lower()
        return asked or (own if own in self.shop_config.languages else self.shop_config.languages[0])

    def decision(
        self,
        request_id: str,
        kind: Kind,
        surface: str,
        n: int,
        shop: Snapshot,
        shelf: Shelf,
        contents: Sequence[Content] = (),
        degraded: Sequence[str] = (),
        latency_ms: float = 0.0,
        arm: str | None = None,
    ) -> Decision:
        """The journal's record of a shelf, with the texts written for it: all that was shown and a sampled share of what was not."""
        return Decision(
            request_id=request_id,
            at=shop.now(),
            kind=kind,
            surface=surface,
            user_id=shelf.profile.user_id or "",
            n=n,
            models=self.models,
            user_features=user_features(shelf.user),
            product_matrix_version=shop.matrix.version,
            candidate_ids=shop.matrix.product_ids[shelf.rows].tolist(),
            feature_names=shelf.feature_names,
            policy=shelf.policy,
            degraded=tuple(dict.fromkeys((*shelf.degraded, *degraded))),
            latency_ms=latency_ms,
            arm=arm,
            sample_share=self.settings.journal_sample_share,
            items=self._items(shop, shelf),
            contents=tuple(contents),
            rules=asdict(shelf.rules),
            kept_off=shelf.choice.removed(),
        )

    def _items(self, shop: Snapshot, shelf: Shelf) -> tuple[Item, ...]:
        shown = {item.candidate: item for item in shelf.items}
        price = shop.matrix.column("product_price")
        category = shop.matrix.texts["product_category"]
        items = []
        sampled = np.flatnonzero(self._sample.random(len(shelf.rows)) < self.settings.journal_sample_share).tolist()
        for place in sorted({*shown, *sampled}):
            row, item = int(shelf.rows[place]), shown.get(place)
            items.append(
                Item(
                    product_id=str(shop.matrix.product_ids[row]),
                    rank=item.rank if item else 0,
                    score=float(shelf.scores[place]),
                    returned=item is not None,
                    propensity=item.propensity if item else 0.0,
                    features=shelf.features[place],
                    category=category[row],
                    price=number(price[row]),
                    reasons=item.reasons if item else (),
                    inclusion=float(shelf.choice.inclusion[place]),
                    rule=item.placed if item else _kept_off_by(shelf, place),
                )
            )
        return tuple(sorted(items, key=lambda each: (each.rank == 0, each.rank)))

    # What the API calls: requests in, answers out.

    def recommendations(self, asked: contracts.RecommendationsRequest, request_id: str, personal: bool = True) -> contracts.RecommendationsResponse:
        """A shelf; unless `personal`, its reasons speak of the products alone."""
        began, user_id = time.perf_counter(), self.pseudonyms.user(asked.user_id)
        found = self._recommended(asked, request_id, personal, user_id, *self.user_in_time(user_id), began)
        return contracts.RecommendationsResponse.model_validate(found)

    async def recommend(self, asked: contracts.RecommendationsRequest, request_id: str, personal: bool, turn: asyncio.Lock) -> dict[str, Any]:
        """`recommendations` for an event loop, as JSON's values: the user is read meanwhile, all else is computed here, one after the other."""
        began, user_id = time.perf_counter(), self.pseudonyms.user(asked.user_id)
        user, unread = await self.user_awaited(user_id)
        waited = time.perf_counter()
        async with turn:
            metrics.observe_stage("wait", time.perf_counter() - waited)
            return self._recommended(asked, request_id, personal, user_id, user, unread, began)

    def _recommended(
        self,
        asked: contracts.RecommendationsRequest,
        request_id: str,
        personal: bool,
        user_id: str,
        user: UserRow | None,
        unread: bool,
        began: float,
    ) -> dict[str, Any]:
        """The fields of a RecommendationsResponse; the decision is in the journal."""
        shop = self.keeper.current
        shelf = self._shelf(user_id, _wish(asked, request_id), shop, user, unread)
        if not personal:
            shelf = replace(shelf, items=tuple(replace(item, reasons=impersonal(item.reasons)) for item in shelf.items))
        with self._clock.stage("answer"):
            items = [self._fields(shop, item) for item in shelf.items]
        with self._clock.stage("journal"):
            self._keep(self.decision(request_id, "recommendations", asked.surface, asked.n, shop, shelf, latency_ms=_since(began)))
        return {"request_id": request_id, "items": items, "models": self.models, "degraded": list(shelf.degraded), "policy": shelf.policy}

    def feed(self, asked: contracts.FeedRequest, request_id: str) -> contracts.FeedResponse:
        began = time.perf_counter()
        shop = self.keeper.current
        shelf = self.shelf(self.pseudonyms.user(asked.user_id), _wish(asked, request_id), shop)
        language = self.language(asked.language, shelf.profile)
        written, slow = self.write_in_time(
            shop, shelf.user, shelf.profile, [item.product_id for item in shelf.items], FEED_CHANNEL, language,
            tone=asked.tone, personalised=asked.copy_arm == "personalised",
        )  # fmt: skip
        by_product = {each.product_id: each for each in written}
        items = [
            contracts.FeedItem(**self._fields(shop, item), written=variant(each) if (each := by_product.get(item.product_id)) else None)
            for item in shelf.items
        ]
        degraded = (*copy_degraded(written, len(items)), *slow)
        decision = self.decision(
            request_id, "feed", asked.surface, asked.n, shop, shelf, contents(written), degraded, _since(began), _arm(asked.policy, asked.copy_arm)
        )
        self._keep(decision)
        return contracts.FeedResponse(request_id=request_id, items=items, models=self.models, degraded=list(decision.degraded), policy=shelf.policy)

    def content(self, asked: contracts.ContentRequest, request_id: str) -> contracts.ContentResponse:
        """Copy for products that the caller chose.

        Raises:
            ApiError: the catalogue lacks a product (404, unknown_product), or too many texts at once (422).
        """
        began = time.perf_counter()
        shop = self.keeper.current
        products = list(dict.fromkeys(asked.product_ids))
        unknown = [product for product in products if product not in shop.matrix.index]
        if unknown:
            details = [{"product_id": product} for product in unknown]
            raise ApiError(404, "unknown_product", f"The catalogue has no product '{unknown[0]}'.", details)
        user_id = self.pseudonyms.user(asked.user_id)
        user, unread = self.user_in_time(user_id)
        profile = self.recommender.profile(user, user_id)
        language = self.language(asked.language, profile)
        written, slow = self.write_in_time(
            shop, user, profile, products, asked.channel, language, n=asked.n, tone=asked.tone, personalised=asked.copy_arm == "personalised"
        )
        wanted = asked.n if asked.channel == "article" else asked.n * len(products)
        unknown_user = () if (user and not user.blank) or asked.copy_arm == "plain" else ("user_unavailable" if unread else "new_user",)
        degraded = (*unknown_user, *copy_degraded(written, wanted), *slow)
        self._keep(
            Decision(
                request_id=request_id, at=shop.now(), kind="content", surface=asked.channel, user_id=user_id, n=asked.n, models=self.models,
                user_features=user_features(user), product_matrix_version=shop.matrix.version, candidate_ids=products, degraded=degraded,
                latency_ms=_since(began), arm=_arm("default", asked.copy_arm), contents=contents(written),
            )
        )  # fmt: skip
        return contracts.ContentResponse(
            request_id=request_id, variants=[variant(each) for each in written], models=self.models, degraded=list(degraded)
        )

    def profile(self, asked: contracts.ProfileRequest, request_id: str) -> contracts.ProfileResponse:
        user_id = self.pseudonyms.user(asked.user_id)
        user = self.user(user_id)
        profile = self.recommender.profile(user, user_id)
        known = user is not None and not user.blank
        interests = [
            contracts.InterestShown(
                kind=each.kind, subject=each.subject, weight=each.weight, behaviour=each.behaviour, social=each.social, preference=each.preference,
                evidence=[contracts.EvidenceShown(signal=evidence.signal, value=evidence.value) for evidence in each.evidence],
            )
            for each in profile.interests
        ]  # fmt: skip
        return contracts.ProfileResponse(
            request_id=request_id, user_id=asked.user_id, known=known, language=profile.language, price_level=profile.price_level,
            signal_weights=profile.signal_weights, interests=interests, models=self.models, degraded=[] if known else ["new_user"],
        )  # fmt: skip

    def events(self, asked: contracts.EventsRequest, request_id: str) -> contracts.EventsResponse:
        """Check each event by itself, keep the good ones in one transaction.

        Raises:
            FeatureRepoError: the log can't be written; then none of the batch is kept.
        """
        shop = self.keeper.current
        now = shop.now()
        good: list[Event] = []
        rejected: list[contracts.Rejected] = []
        seen: set[str] = set()
        twice: list[str] = []
        for index, raw in enumerate(asked.events):
            event_id = raw.get("event_id") if isinstance(raw, dict) and isinstance(raw.get("event_id"), str) else None
            checked = self._event(raw, shop, now)
            if isinstance(checked, tuple):
                rejected.append(contracts.Rejected(index=index, event_id=event_id, code=checked[0], message=checked[1]))
            elif checked.event_id in seen:
                twice.append(checked.event_id)
            else:
                seen.add(checked.event_id)
                good.append(checked)
        with self._clock.stage("events"):
            accepted = self.event_log.append(good) if good else []
        new = set(accepted)
        for event in good:
            metrics.EVENTS.labels(str(event.event_type), "accepted" if event.event_id in new else "duplicate").inc()
        for refused in rejected:
            metrics.EVENTS.labels("any", refused.code).inc()
        duplicates = [event.event_id for event in good if event.event_id not in new] + twice
        return contracts.EventsResponse(request_id=request_id, accepted=accepted, duplicates=duplicates, rejected=rejected)

    def _event(self, raw: Any, shop: Snapshot, now: datetime) -> Event | tuple[str, str]:
        """The event as the log keeps it, or the code and message of what is wrong with it."""
        try:
            posted = contracts.PostedEvent.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "event"
            return "invalid", f"{place}: {first['msg'].removeprefix('Value error, ')}"
        if posted.product_id is None and posted.event_type != "unsubscribe":
            return "no_product", f"product_id: a {posted.event_type} names the product it is about."
        if posted.product_id is not None and posted.product_id not in shop.matrix.index and posted.event_type != "unsubscribe":
            return "unknown_product", f"product_id: the catalogue has no product '{posted.product_id}'."
        ahead = posted.event_time > now + timedelta(seconds=self.settings.event_future_s)
        if ahead and posted.event_type != "unsubscribe":  # a wish to be left alone counts whatever its clock says
            return "future", f"event_time: {posted.event_time.isoformat()} is after the shop's time, {now.isoformat(timespec='seconds')}."
        if posted.event_type == "unsubscribe" and posted.user_id is None:
            return "no_user", "user_id: an unsubscribe names who it is from."
        fields = posted.model_dump(exclude={"event_type", "user_id"})
        user_id = None if posted.user_id is None else self.pseudonyms.user(posted.user_id)
        return Event(event_type=posted.event_type, user_id=user_id, arrived_at=now, **fields)

    def read_unsubscribe(self, token: str) -> str:
        """The channel that a link is about; changes nothing.

        Raises:
            BadToken: this shop did not make the token.
        """
        return read_token(self.pseudonyms, token).channel

    def unsubscribe(self, token: str) -> str:
        """Suppress the link's user on its channel, committed on return; returns the channel.

        Raises:
            BadToken: this shop did not make the token.
        """
        asked = read_token(self.pseudonyms, token)
        with self._lock:
            if self._consent is None:
                self._consent = Consent(self.home)
        self._consent.suppress(asked.user_id, asked.channel, "link")
        return asked.channel

    def shop(self, request_id: str) -> contracts.ShopResponse:
        shop = self.keeper.current
        return contracts.ShopResponse(
            request_id=request_id, shop=self.home.shop, name=self.shop_config.name, now=shop.now(), languages=list(self.shop_config.languages),
            features=shop.matrix.version, products=len(shop.matrix.product_ids), sample_shoppers=self._samples(), models=self.models,
            key_required=bool(self.settings.api_key.get_secret_value()),
        )  # fmt: skip

    def health(self) -> contracts.Health:
        return contracts.Health(status="ready", shop=self.home.shop, models=self.models)

    def count_journal(self) -> None:
        metrics.JOURNAL_WRITTEN.set(self.journal.written)
        metrics.JOURNAL_DROPPED.set(self.journal.dropped)

    def _samples(self) -> list[str]:
        """Ids to try on the front page: only of the simulated shop, whose shoppers are nobody. Real ids are never kept."""
        if self.home.manifest().get("source") != "demo":
            return []
        from feature_repo.sources.demo.shoppers import MEI  # loads the simulator, which no other shop needs

        return [MEI, *(f"s{number:05d}" for number in range(1, SAMPLES))]

    def _keep(self, decision: Decision) -> None:
        for fallback in decision.degraded:
            metrics.DEGRADED.labels(fallback).inc()
        for rule, count in decision.kept_off.items():
            metrics.KEPT_OFF.labels(rule).inc(count)
        for item in decision.items:
            if item.returned:
                metrics.PLACES.labels(item.rule).inc()
        self.journal.record(decision)

    def _fields(self, shop: Snapshot, item: Any) -> dict[str, Any]:
        row = item.row
        return {
            "product_id": item.product_id,
            "score": item.score,
            "rank": item.rank,
            "reasons": [{"code": each.code, "text": each.text, "text_zh": each.text_zh} for each in item.reasons],
            "title": shop.matrix.texts["product_title"][row],
            "title_zh": shop.catalogue.text(item.product_id, "title_zh"),
            "category": shop.matrix.texts["product_category"][row],
            "category_zh": shop.catalogue.text(item.product_id, "category_zh"),
            "image_url": shop.catalogue.text(item.product_id, "image_url"),
            "brand": shop.matrix.texts["product_brand"][row],
            "price": number(shop.matrix.column("product_price")[row]),
            "currency": self.shop_config.currency,
        }


def _wish(asked: contracts.RecommendationsRequest | contracts.FeedRequest, request_id: str) -> Wish:
    return Wish(asked.n, asked.policy, request_id, asked.min_price, asked.max_price)


def _unread(error: Exception) -> tuple[None, bool]:
    log.error("A shopper's features can't be read, the popular shelf is shown: %s", str(error) or type(error).__name__)
    return None, True


def _kept_off_by(shelf: Shelf, place: int) -> str:
    rule = int(shelf.choice.kept_off[place])
    return RULES[rule] if rule >= 0 else ""


def variant(written: Written) -> contracts.Variant:
    return contracts.Variant(
        product_id=written.product_id, product_ids=list(written.product_ids), channel=written.channel, language=written.language,
        tone=written.tone, aspects=[written.aspect], text=written.text, subject=written.subject, body=written.body, backend=written.backend,
        facts=[contracts.Fact(name=each.name, value=each.value, source=each.source, product_id=each.product_id) for each in written.facts],
    )  # fmt: skip


def contents(written: Sequence[Written]) -> tuple[Content, ...]:
    """The texts as the journal keeps them."""
    return tuple(
        Content(
            each.product_id, each.channel, each.language, each.tone, (each.aspect,), each.text, each.subject, each.body, each.backend,
            tuple(fact.name for fact in each.facts),
        )
        for each in written
    )  # fmt: skip


def copy_degraded(written: Sequence[Written], wanted: int) -> tuple[str, ...]:
    template = ("template_copy",) if any(each.backend == "template" for each in written) else ()
    return template + (("missing_copy",) if len(written) < wanted else ())


def _arm(policy: str, copy: str) -> str | None:
    """The arm of a comparison that a request belongs to; None for the platform as it is."""
    left_out = [name for name, left in (("popular", policy == "popular"), ("plain_copy", copy == "plain")) if left]
    return "+".join(left_out) or None


def user_features(user: UserRow | None) -> dict[str, Any]:
    """A user's feature row as the journal keeps it: numbers, unix times and texts by name, and the interests as two arrays."""
    if user is None:
        return {}
    interests = {"interest_keys": list(user.interests.keys), "interest_signals": np.asarray(user.interests.signals).ravel()}
    numbers = {**user.values(), **user.at}
    return {**{name: None if math.isnan(value) else value for name, value in numbers.items()}, **user.texts, **interests}


def number(value: Any) -> float | None:
    """A float, None where missing. The shortest decimal that gives the same float32, so that 19.99 stays 19.99."""
    found = float(str(value)) if isinstance(value, np.float32) else float(value)
    return None if math.isnan(found) else found


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
