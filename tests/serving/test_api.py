"""The real service over HTTP: the corner shop's models in a bento, copied elsewhere, served by BentoML."""

import http.client
import json
import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from feature_repo import journal
from feature_repo.event_log import EventLog
from feature_repo.store import Build
from feature_repo.vectors import RANKER_FEATURES
from serving.consent import Consent, Standing
from serving.reasons import IMPERSONAL
from serving.unsubscribe import make_token
from tests.serving import corner

SHOPPER, STRANGER = "c-0031", "nobody-we-know"
PRODUCT = "00017"


@pytest.fixture(scope="module")
def service() -> corner.Service:
    return corner.service()


def pseudonym(shop_id: str) -> str:
    return corner.trained().pseudonyms(corner.settings()).user(shop_id)


def decision_of(request_id: str) -> journal.Decision:
    """The journal's record, once it is on disk."""
    patience = time.monotonic() + 30
    while time.monotonic() < patience:
        for each in journal.decisions(corner.trained().journal):
            if each.request_id == request_id:
                return each
    raise AssertionError(f"{request_id} is not in the journal")


def now(service: corner.Service) -> datetime:
    return datetime.fromisoformat(service.get("/v1/shop").json()["now"])


def event(service: corner.Service, event_id: str, **changes: Any) -> dict[str, Any]:
    made = {"event_id": event_id, "event_type": "view", "user_id": SHOPPER, "product_id": PRODUCT, "event_time": now(service).isoformat()}
    return {name: value for name, value in (made | changes).items() if value is not None}


class TestShelf:
    def test_a_known_shopper_gets_ranked_items_with_reasons(self, service: corner.Service) -> None:
        answer = service.post("/v1/recommendations", {"user_id": SHOPPER, "n": 5})
        body = answer.json()
        assert answer.status == 200
        assert body["request_id"] == answer.headers["x-request-id"]
        assert [item["rank"] for item in body["items"]] == [1, 2, 3, 4, 5]
        assert len({item["product_id"] for item in body["items"]}) == 5
        assert all(item["reasons"] and item["reasons"][0]["text_zh"] for item in body["items"])
        assert body["models"].keys() == {"retriever", "ranker", "writer"}
        assert "new_user" not in body["degraded"]

    def test_an_unknown_shopper_gets_what_is_popular_and_that_is_said(self, service: corner.Service) -> None:
        body = service.post("/v1/recommendations", {"user_id": STRANGER, "n": 5}).json()
        popular = service.post("/v1/recommendations", {"user_id": SHOPPER, "n": 5, "policy": "popular"}).json()
        assert body["degraded"] == ["new_user"]
        assert [item["product_id"] for item in body["items"]] == [item["product_id"] for item in popular["items"]]
        assert popular["degraded"] == []

    def test_the_journal_keeps_the_decision(self, service: corner.Service) -> None:
        body = service.post("/v1/recommendations", {"user_id": SHOPPER, "n": 4, "surface": "basket"}).json()
        kept = decision_of(body["request_id"])
        shown = [item for item in kept.items if item.returned]
        assert (kept.kind, kept.surface, kept.n, kept.user_id) == ("recommendations", "basket", 4, pseudonym(SHOPPER))
        assert [item.product_id for item in shown] == [item["product_id"] for item in body["items"]]
        assert {item.product_id for item in shown} <= set(kept.candidate_ids)
        assert kept.feature_names == RANKER_FEATURES
        assert kept.models == body["models"]
        assert kept.user_features["interest_keys"]
        assert all(math.isclose(item.score, other["score"], rel_tol=1e-6) for item, other in zip(shown, body["items"], strict=True))

    def test_what_was_ranked_by_equals_what_feast_answers(self, service: corner.Service) -> None:
        """The skew test: each item's features in the journal against Feast's online store, on-demand view included."""
        body = service.post("/v1/recommendations", {"user_id": SHOPPER, "n": 3}).json()
        kept = decision_of(body["request_id"])
        store = Build.current(corner.trained()).store()
        weights = service.post("/v1/profile", {"user_id": SHOPPER}).json()["signal_weights"]
        for item in (each for each in kept.items if each.returned):
            vector = dict(zip(kept.feature_names, item.features, strict=True))
            asked = {"user_id": kept.user_id, "product_id": item.product_id, "pair_product": item.product_id, "request_at": kept.at.timestamp()}
            asked |= {f"weight_{signal}": weight for signal, weight in weights.items()}
            asked |= {
                f"{kind}_of_{name.split('_', 1)[1]}": value for name, value in vector.items() if (kind := name.split("_")[0]) in ("score", "rank")
            }
            found = store.get_online_features(features=store.get_feature_service("ranker_v1"), entity_rows=[asked]).to_dict()
            expected = [math.nan if found[name][0] is None else found[name][0] for name in kept.feature_names]
            np.testing.assert_allclose(item.features, expected, rtol=1e-5, atol=1e-6)

    def test_a_shopper_who_dislikes_a_category_gets_none_of_it(self, service: corner.Service) -> None:
        checked = 0
        for shop_id in (f"c-{number:04d}" for number in range(1, 61)):
            interests = service.post("/v1/profile", {"user_id": shop_id}).json()["interests"]
            stated = {(each["kind"], each["subject"]): {e["signal"]: e["value"] for e in each["evidence"]} for each in interests}
            barred = {key for key, signals in stated.items() if signals.get("dislike", 0) >= 1 and signals.get("like", 0) < signals["dislike"]}
            if barred:
                items = service.post("/v1/recommendations", {"user_id": shop_id, "n": 30}).json()["items"]
                assert not [item for item in items if ("category", item["category"]) in barred or ("brand", item["brand"]) in barred]
                checked += 1
        assert checked > 0

    def test_the_journal_says_what_was_kept_off_and_what_filled_each_place(self, service: corner.Service) -> None:
        body = service.post("/v1/recommendations", {"user_id": SHOPPER, "n": 4, "max_price": 60}).json()  # within its bounds is what is proposed
        kept = decision_of(body["request_id"])
        shown = [item for item in kept.items if item.returned]
        assert body["items"] and all(item["price"] <= 60 for item in body["items"])
        assert kept.rules["max_price"] == 60 and kept.rules["diversity"] and "price" not in kept.kept_off
        assert all((item.propensity, item.inclusion) == (1.0, 1.0) and item.rule in ("score", "fill") for item in shown)
        assert all(item.propensity == 0 for item in kept.items if not item.returned)
        text = service.get("/metrics").body.decode()
        assert 'storyshelf_shelf_places_total{placed="score"}' in text

    def test_the_journal_and_the_metrics_count_what_rules_kept_off(self, service: corner.Service) -> None:
        asked = (service.post("/v1/recommendations", {"user_id": f"c-{number:04d}", "n": 30}).json() for number in range(1, 61))
        rules = next((rules for body in asked if (rules := decision_of(body["request_id"]).kept_off)), {})
        text = service.get("/metrics").body.decode()
        assert rules and all(count > 0 and f'storyshelf_candidates_kept_off_total{{rule="{rule}"}}' in text for rule, count in rules.items())

    def test_bounds_hold_for_a_stranger_too(self, service: corner.Service) -> None:
        items = service.post("/v1/recommendations", {"user_id": STRANGER, "n": 5, "min_price": 20, "max_price": 60}).json()["items"]
        assert items and all(20 <= item["price"] <= 60 for item in items)

    def test_the_feed_has_copy_beside_each_item(self, service: corner.Service) -> None:
        body = service.post("/v1/feed", {"user_id": SHOPPER, "n": 3, "language": "zh"}).json()
        assert len(body["items"]) == 3
        texts = [item["copy"] for item in body["items"]]
        assert all(text and text["language"] == "zh" and text["text"] for text in texts)
        kept = decision_of(body["request_id"])
        assert [content.text for content in kept.contents] == [text["text"] for text in texts]
        assert kept.kind == "feed"

    def test_arms_are_noted(self, service: corner.Service) -> None:
        body = service.post("/v1/feed", {"user_id": SHOPPER, "n": 2, "policy": "popular", "copy": "plain"}).json()
        assert {item["copy"]["tone"] for item in body["items"]} == {"plain"}
        assert decision_of(body["request_id"]).arm == "popular+plain_copy"


class TestContent:
    @pytest.mark.parametrize("language", ["en", "zh"])
    @pytest.mark.parametrize("channel", ["title", "push", "email", "article"])
    def test_every_channel_in_both_languages(self, service: corner.Service, channel: str, language: str) -> None:
        asked = {"user_id": SHOPPER, "product_ids": [PRODUCT], "channel": channel, "language": language}
        body = service.post("/v1/content", asked).json()
        (variant,) = body["variants"]
        assert (variant["channel"], variant["language"], variant["product_id"]) == (channel, language, PRODUCT)
        if channel == "email":
            assert variant["subject"]
            assert variant["body"]
            assert variant["text"] is None
        else:
            assert variant["text"]
            assert variant["subject"] is None
        assert all(fact["value"].lower() in f"{variant['text']} {variant['subject']} {variant['body']}".lower() for fact in variant["facts"])

    def test_an_unknown_product_is_404_and_named(self, service: corner.Service) -> None:
        answer = service.post("/v1/content", {"user_id": SHOPPER, "product_ids": [PRODUCT, "no-such"]})
        assert answer.status == 404
        assert answer.error()["code"] == "unknown_product"
        assert answer.error()["details"] == [{"product_id": "no-such"}]

    def test_an_asked_for_tone_is_used(self, service: corner.Service) -> None:
        body = service.post("/v1/content", {"user_id": SHOPPER, "product_ids": [PRODUCT], "tone": "expert"}).json()
        assert body["variants"][0]["tone"] == "expert"


class TestProfile:
    def test_parts_add_up_and_evidence_is_shown(self, service: corner.Service) -> None:
        body = service.post("/v1/profile", {"user_id": SHOPPER}).json()
        assert body["known"]
        assert body["interests"]
        for each in body["interests"]:
            assert each["weight"] == pytest.approx(each["behaviour"] + each["social"] + each["preference"])
            assert each["evidence"]

    def test_a_stranger_has_an_empty_profile(self, service: corner.Service) -> None:
        body = service.post("/v1/profile", {"user_id": STRANGER}).json()
        assert (body["known"], body["interests"], body["degraded"]) == (False, [], ["new_user"])


class TestEvents:
    def test_accepted_events_are_on_disk_with_a_pseudonym(self, service: corner.Service) -> None:
        answer = service.post("/v1/events", {"events": [event(service, "t-accepted", context={"tone": "warm"})]})
        assert answer.status == 202
        assert answer.json()["accepted"] == ["t-accepted"]
        kept = EventLog(corner.trained().events_db).read().set_index("event_id").loc["t-accepted"]
        assert kept["user_id"] == pseudonym(SHOPPER)
        assert json.loads(kept["context"]) == {"tone": "warm"}

    def test_posting_again_is_a_duplicate(self, service: corner.Service) -> None:
        service.post("/v1/events", {"events": [event(service, "t-twice")]})
        body = service.post("/v1/events", {"events": [event(service, "t-twice"), event(service, "t-once"), event(service, "t-once")]}).json()
        assert body["accepted"] == ["t-once"]
        assert body["duplicates"] == ["t-twice", "t-once"]

    def test_each_wrong_event_says_why_and_the_others_are_kept(self, service: corner.Service) -> None:
        later = (now(service) + timedelta(hours=1)).isoformat()
        posted = [
            event(service, "t-good"),
            event(service, "t-unknown", product_id="no-such"),
            event(service, "t-future", event_time=later),
            event(service, "t-naive", event_time="2024-05-04T12:30:00"),
            event(service, "t-type", event_type="hover"),
            event(service, "t-product", product_id=None),
            event(service, "t-unsubscribe", event_type="unsubscribe", user_id=None, product_id=None),
            "not an object",
            {},
        ]
        body = service.post("/v1/events", {"events": posted}).json()
        assert body["accepted"] == ["t-good"]
        assert [(each["index"], each["code"]) for each in body["rejected"]] == [
            (1, "unknown_product"), (2, "future"), (3, "invalid"), (4, "invalid"), (5, "no_product"), (6, "no_user"), (7, "invalid"), (8, "invalid"),
        ]  # fmt: skip

    def test_an_anonymous_event_counts_for_the_product(self, service: corner.Service) -> None:
        assert service.post("/v1/events", {"events": [event(service, "t-anonymous", user_id=None)]}).json()["accepted"] == ["t-anonymous"]

    def test_many_writers_at_once_lose_nothing(self, service: corner.Service) -> None:
        at = now(service).isoformat()
        batches = [[event(service, f"t-many-{batch}-{number}", event_time=at) for number in range(20)] for batch in range(2)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda batch: service.post("/v1/events", {"events": batch}).json(), batches * 4))
        accepted = [each for answer in answers for each in answer["accepted"]]
        assert len(accepted) == len(set(accepted)) == 40


class TestUnsubscribe:
    def token(self, shop_id: str) -> str:
        return make_token(corner.trained().pseudonyms(corner.settings()), pseudonym(shop_id), "email")

    def suppressed(self, shop_id: str) -> bool:
        consent = Consent(corner.trained())
        try:
            return consent.standing(pseudonym(shop_id), "email") is Standing.UNSUBSCRIBED
        finally:
            consent.close()

    def test_opening_the_page_changes_nothing_and_posting_does(self, service: corner.Service) -> None:
        home = corner.trained()
        granted = Consent(home)
        shopper = next(each for each in (f"c-{number:04d}" for number in range(1, 61)) if granted.allowed(pseudonym(each), "email"))
        granted.close()
        path = f"/v1/unsubscribe/{self.token(shopper)}"
        page = service.get(path)
        assert page.status == 200
        assert b'method="post"' in page.body
        assert not self.suppressed(shopper)
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert service.call("POST", path, raw=b"List-Unsubscribe=One-Click", headers=form).json()["status"] == "unsubscribed"
        assert self.suppressed(shopper)
        assert service.call("POST", path, raw=b"List-Unsubscribe=One-Click", headers=form).status == 200

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_token_that_is_not_ours(self, service: corner.Service, method: str) -> None:
        answer = service.call(method, "/v1/unsubscribe/" + self.token(SHOPPER)[:-2] + "xx")
        assert (answer.status, answer.error()["code"]) == (400, "bad_token")

    def test_the_token_is_in_no_log_line(self, service: corner.Service) -> None:
        token = self.token("c-0002")
        service.get(f"/v1/unsubscribe/{token}")
        assert token not in service.log.read_text()
        assert token not in service.get("/metrics").body.decode()


class TestBadInput:
    @pytest.mark.parametrize(
        "raw", [b"", b"{", b"[1,2", b'{"user_id": NaN}', b'{"n": Infinity, "user_id": "a"}', b'{"user_id": "\xff"}', b"\x00", b"[" * 5000]
    )
    def test_what_is_no_json(self, service: corner.Service, raw: bytes) -> None:
        answer = service.call("POST", "/v1/recommendations", raw=raw)
        assert answer.status in ((400,) if raw else (400, 422))
        assert answer.error()["code"] in ("malformed_json", "invalid")

    @pytest.mark.parametrize("body", [[], "text", 3, None, {}, {"user_id": 3}, {"user_id": SHOPPER, "n": "10"}, {"user_id": SHOPPER, "colour": 1}])
    def test_json_of_the_wrong_shape(self, service: corner.Service, body: Any) -> None:
        answer = service.call("POST", "/v1/recommendations", raw=json.dumps(body).encode())
        assert answer.status == 422
        assert answer.error()["code"] == "invalid"

    def test_the_wrong_field_is_named(self, service: corner.Service) -> None:
        error = service.post("/v1/content", {"user_id": SHOPPER, "product_ids": ["a", 7]}).error()
        assert error["details"][0]["field"] == "product_ids.1"

    def test_a_body_that_is_too_large(self, service: corner.Service) -> None:
        answer = service.call("POST", "/v1/recommendations", raw=b'{"user_id": "' + b"x" * 1_100_000 + b'"}')
        assert (answer.status, answer.error()["code"]) == (413, "too_large")

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize(("path", "status"), [("/v1/recommendations", 413), ("/v2/nothing", 404)])
    def test_a_huge_body_gets_an_answer_and_no_broken_connection(self, service: corner.Service, path: str, status: int, chunked: bool) -> None:
        block = b"x" * 1_000_000
        # `Connection: close`, as urllib and many others send: a server that answers early then hangs up on who is still sending.
        headers = {"content-type": "application/json", "connection": "close"} | ({} if chunked else {"content-length": str(40 * len(block))})
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        connection.request("POST", path, (block for _ in range(40)), headers, encode_chunked=chunked)
        response = connection.getresponse()
        assert response.status == status
        assert json.loads(response.read())["error"]["request_id"] == response.getheader("x-request-id")
        connection.close()

    def test_a_body_that_does_not_say_it_is_json(self, service: corner.Service) -> None:
        answer = service.call("POST", "/v1/recommendations", raw=b'{"user_id": "a"}', headers={"content-type": "text/plain"})
        assert (answer.status, answer.error()["code"]) == (415, "unsupported_media_type")

    @pytest.mark.parametrize(("method", "path", "status"), [
        ("GET", "/v1/recommendations", 405), ("DELETE", "/v1/events", 405), ("GET", "/v2/recommendations", 404), ("GET", "/static/../api.py", 404),
        ("GET", "/static/%2e%2e%2fapi.py", 404), ("GET", "/docs.json", 404), ("GET", "/static_content/marked.min.js", 404),
    ])  # fmt: skip
    def test_routes_that_are_not_there(self, service: corner.Service, method: str, path: str, status: int) -> None:
        answer = service.call(method, path)
        assert answer.status == status
        assert answer.error()["message"]

    def test_a_caller_s_request_id_reaches_neither_log_nor_journal(self, service: corner.Service) -> None:
        """Guards against a shop's trace id, which may be a customer's id, being kept."""
        answer = service.post("/v1/recommendations", {"user_id": STRANGER}, {"x-request-id": "customer-4711-anna"})
        own = answer.json()["request_id"]
        assert re.fullmatch("[0-9a-f]{32}", own)
        assert answer.headers["x-request-id"] == own
        assert decision_of(own).kind == "recommendations"
        assert "customer-4711-anna" not in service.log.read_text()
        assert not [file for file in corner.trained().journal.iterdir() if b"customer-4711-anna" in file.read_bytes()]


class TestService:
    def test_probes_metrics_and_document(self, service: corner.Service) -> None:
        assert service.get("/healthz").json() == {"status": "alive"}
        assert service.get("/readyz").json()["status"] == "ready"
        metrics = service.get("/metrics").body.decode()
        assert 'storyshelf_requests_total{route="/v1/recommendations",status="200"}' in metrics
        assert 'storyshelf_stage_seconds_bucket{le="0.0005",stage="score"}' in metrics
        document = service.get("/openapi.json").json()
        assert {"/v1/recommendations", "/v1/content", "/v1/feed", "/v1/profile", "/v1/events", "/v1/unsubscribe/{token}"} <= document["paths"].keys()
        assert "PostedEvent" in document["components"]["schemas"]

    def test_pages_load_nothing_from_elsewhere(self, service: corner.Service) -> None:
        for path in ("/", "/docs", "/static/page.js", "/static/page.css", "/static/docs.js"):
            answer = service.get(path)
            assert answer.status == 200
            assert b"https://" not in answer.body
            assert "default-src 'self'" in answer.headers["content-security-policy"]

    def test_the_log_is_json_with_request_ids_and_no_ids_of_people(self, service: corner.Service) -> None:
        request_id = service.post("/v1/recommendations", {"user_id": SHOPPER}).json()["request_id"]
        lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
        (mine,) = [line for line in lines if line.get("request_id") == request_id]
        assert mine["message"].startswith("POST /v1/recommendations 200")
        text = service.log.read_text()
        assert SHOPPER not in text
        assert pseudonym(SHOPPER) not in text

    def test_the_clock_of_the_shop_is_followed(self, service: corner.Service) -> None:
        home = corner.trained()
        before = home.manifest()["clock_offset_s"]
        try:
            home.write_manifest({"clock_offset_s": before - 3600})
            wanted = home.clock().now()
            patience = time.monotonic() + 30
            while abs(now(service) - wanted) > timedelta(minutes=5):
                assert time.monotonic() < patience
        finally:
            home.write_manifest({"clock_offset_s": before})
        while now(service) - datetime.now(UTC) > -timedelta(seconds=before) + timedelta(minutes=5):
            assert time.monotonic() < patience


class TestKey:
    def test_a_key_guards_profile_content_feed_and_events(self) -> None:
        guarded = corner.serve({"STORYSHELF_API_KEY": "opensesame"})
        bodies: dict[str, Any] = {
            "/v1/profile": {"user_id": SHOPPER},
            "/v1/content": {"user_id": SHOPPER, "product_ids": [PRODUCT]},
            "/v1/feed": {"user_id": SHOPPER, "n": 1},
            "/v1/events": {"events": [event(guarded, "t-key")]},
        }
        for path, body in bodies.items():
            assert guarded.post(path, body).error()["code"] == "unauthorized"
            assert guarded.post(path, body, {"x-api-key": "wrong"}).status == 401
            assert guarded.post(path, body, {"x-api-key": "opensesame"}).status in (200, 202)
        assert guarded.post("/v1/profile", bodies["/v1/profile"], {"authorization": "Bearer opensesame"}).status == 200
        asked = {"user_id": SHOPPER, "n": 20}
        open_, wrong, known = (guarded.post("/v1/recommendations", asked, {"x-api-key": sent}).json()["items"] for sent in ("", "no", "opensesame"))
        assert [item["product_id"] for item in open_] == [item["product_id"] for item in known]
        assert {reason["code"] for item in open_ + wrong for reason in item["reasons"]} <= IMPERSONAL
        assert not {reason["code"] for item in known for reason in item["reasons"]} <= IMPERSONAL
