"""The service over HTTP: routes, limits, the one error shape, metrics and logs. What is answered is decided in `answers.py`."""

import asyncio
import hmac
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import anyio.to_thread
import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from serving import contracts, metrics
from serving.answers import Answers
from serving.errors import ApiError
from serving.settings import ServingSettings
from serving.unsubscribe import BadToken

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
SECURITY = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
CODES = {
    400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 409: "conflict", 413: "too_large",
    415: "unsupported_media_type", 422: "invalid", 500: "internal", 503: "unavailable",
}  # fmt: skip
DRAIN_S = 60.0
"""Seconds that the rest of a body which nobody reads is received and thrown away, before the answer goes out."""
RECOMMENDATIONS = "/v1/recommendations"
UNMEASURED = ("/healthz", "/readyz", "/metrics")
THREADS = 4
"""Of one worker, for all but recommendations: these are computed in turn where the requests come in, for two at a time on one core would both be
late, and handing them to a thread and back takes a tenth of the time again."""
RETRY_AFTER_S = 1
MOVED_EVERY_S = 0.02
"""At most so often a worker sends a caller to another one."""

Loader = Callable[[], Answers]


class JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class _StrictJson(Request):
    """Reads JSON by its standard: NaN, Infinity and bytes that are no UTF-8 are errors."""

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class _Route(APIRoute):
    """A route whose body must be JSON and say so; a page of another site can't send that without being allowed to."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if self.body_field is not None:
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "application/json":
                    raise ApiError(415, "unsupported_media_type", "Send the body as JSON, with Content-Type: application/json.")
            return await handle(_StrictJson(request.scope, request.receive))

        return checked


def create_app(load: Loader, settings: ServingSettings) -> FastAPI:
    """The app. `load` is called once as it starts up; if it fails, /readyz and every answer say why with 503."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        try:
            app.state.answers = await anyio.to_thread.run_sync(load)
        except StoryshelfError as error:
            log.error("The service can't answer: %s", error)
            app.state.problem = str(error)
        yield
        if app.state.answers is not None:
            await anyio.to_thread.run_sync(app.state.answers.close)

    app = FastAPI(
        title="Storyshelf",
        version="1",
        summary="A shop's shelf and its story, made for each shopper.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.router.route_class = _Route
    app.state.answers, app.state.problem, app.state.turn = None, "The service is starting: try again in a moment.", asyncio.Lock()
    _add_answers(app, settings)
    _add_unsubscribe(app)
    _add_probes(app)
    _add_pages(app)
    _add_errors(app)
    app.add_middleware(_Shortcut, state=app.state)
    app.add_middleware(_Front, most=settings.max_in_flight, largest=settings.max_body_bytes, balances=settings.workers > 1)
    return app


async def answers_of(request: Request) -> Answers:
    answers: Answers | None = request.app.state.answers
    if answers is None:
        raise ApiError(503, "not_ready", request.app.state.problem)
    return answers


Ready = Depends(answers_of)


def _add_answers(app: FastAPI, settings: ServingSettings) -> None:
    """The routes of the API proper. What takes long runs in a thread, the event loop stays free."""
    wanted = settings.api_key.get_secret_value()

    def has_key(request: Request) -> bool:
        """Whether the caller sent the key, or none is set; compared in constant time."""
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        return not wanted or hmac.compare_digest(given.encode(), wanted.encode())

    async def key(request: Request) -> None:
        if not has_key(request):
            raise ApiError(401, "unauthorized", "Send the service's key in the header X-API-Key.")

    guarded = [Depends(key)]
    errors: dict[int | str, dict[str, Any]] = {code: {"model": contracts.ErrorResponse} for code in (400, 401, 404, 413, 415, 422, 500, 503)}

    @app.post(RECOMMENDATIONS, response_model=contracts.RecommendationsResponse, responses=errors, tags=["shelf"])
    async def recommendations(asked: contracts.RecommendationsRequest, request: Request, answers: Answers = Ready) -> Response:
        """Products for a shopper, best first, with reasons. Where a key is set, a caller without it gets no reason that tells something of the
        shopper."""
        return JsonResponse(await answers.recommend(asked, logs.request_id.get(), has_key(request), request.app.state.turn))

    app.state.has_key = has_key

    @app.post("/v1/content", response_model=contracts.ContentResponse, responses=errors, tags=["shelf"], dependencies=guarded)
    def content(asked: contracts.ContentRequest, answers: Answers = Ready) -> Response:
        """Copy about products for a shopper; it states nothing but the products' facts."""
        return _json(answers.content(asked, logs.request_id.get()))

    @app.post("/v1/feed", response_model=contracts.FeedResponse, responses=errors, tags=["shelf"], dependencies=guarded)
    def feed(asked: contracts.FeedRequest, answers: Answers = Ready) -> Response:
        """Products for a shopper with reasons and copy."""
        return _json(answers.feed(asked, logs.request_id.get()))

    @app.post("/v1/profile", response_model=contracts.ProfileResponse, responses=errors, tags=["shopper"], dependencies=guarded)
    def profile(asked: contracts.ProfileRequest, answers: Answers = Ready) -> Response:
        """What is known of a shopper, and from what."""
        return _json(answers.profile(asked, logs.request_id.get()))

    @app.post("/v1/events", response_model=contracts.EventsResponse, status_code=202, responses=errors, tags=["shopper"], dependencies=guarded)
    def events(asked: contracts.EventsRequest, answers: Answers = Ready) -> Response:
        """Keep events. An accepted event is on disk when the answer leaves; it reaches the features at the next `make features`."""
        return _json(answers.events(asked, logs.request_id.get()), 202)

    @app.get("/v1/shop", response_model=contracts.ShopResponse, responses=errors, tags=["service"])
    def shop(answers: Answers = Ready) -> Response:
        """The shop, its languages and the models in use."""
        return _json(answers.shop(logs.request_id.get()))


def _add_unsubscribe(app: FastAPI) -> None:
    @app.get("/v1/unsubscribe/{token}", response_class=HTMLResponse, tags=["shopper"])
    def ask(token: str, answers: Answers = Ready) -> Response:
        """A page with one button. Opening it changes nothing: mail programs and scanners follow links by themselves."""
        answers.read_unsubscribe(token)
        return _page("Unsubscribe? / 确定退订吗？", f'<form method="post" action="/v1/unsubscribe/{escape(token)}">', "Unsubscribe / 退订")

    @app.post("/v1/unsubscribe/{token}", tags=["shopper"])
    def unsubscribe(token: str, request: Request, answers: Answers = Ready) -> Response:
        """No further mail on the link's channel, from the next message on (RFC 8058, one click). Doing it twice does no harm."""
        channel = answers.unsubscribe(token)
        if "text/html" in request.headers.get("accept", ""):
            return _page("You will get no more mail from us. / 您不会再收到我们的邮件。")
        return JsonResponse({"request_id": logs.request_id.get(), "channel": channel, "status": "unsubscribed"})


def _page(text: str, form: str = "", button: str = "") -> HTMLResponse:
    """A small page in both languages; `text`, `form` and `button` are our own words, escaped where they hold others'."""
    act = f'{form}<button type="submit">{button}</button></form>' if form else ""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{text}</title><link rel="stylesheet" href="/static/page.css"></head>'
        f'<body class="letter"><main><h1>{text}</h1>{act}</main></body></html>'
    )


def _add_probes(app: FastAPI) -> None:
    @app.get("/healthz", response_model=contracts.Health, tags=["service"])
    async def healthz(request: Request) -> Response:
        """Whether the process answers at all."""
        return JsonResponse({"status": "alive"})

    @app.get("/readyz", response_model=contracts.Health, tags=["service"])
    async def readyz(answers: Answers = Ready) -> Response:
        """Whether models and features are loaded."""
        return _json(answers.health())

    @app.get("/metrics", tags=["service"])
    def prometheus(request: Request) -> Response:
        """Counts and times for Prometheus."""
        if request.app.state.answers is not None:
            request.app.state.answers.count_journal()
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_pages(app: FastAPI) -> None:
    """The front page and the API's documentation: files of ours, nothing from elsewhere."""
    files = {file.name: file for file in STATIC.iterdir() if file.suffix in TYPES}

    def page(name: str) -> FileResponse:
        return FileResponse(files[name], media_type=TYPES[files[name].suffix], headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def front() -> Response:
        return page("index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return page("docs.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return page(name)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JsonResponse(openapi_document(app))

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], include_in_schema=False)
    async def elsewhere(path: str, request: Request) -> Response:
        """Keeps BentoML's own pages, which load scripts from elsewhere, out of reach and gives every error the one shape."""
        known = {
            method
            for route in app.routes
            if isinstance(route, APIRoute) and route.path != "/{path:path}" and route.path_regex.match(f"/{path}")
            for method in route.methods or ()
        }
        if known:
            raise HTTPException(405, f"/{path} answers {', '.join(sorted(known))} only.", {"allow": ", ".join(sorted(known))})
        raise ApiError(404, "no_such_route", "There is nothing at this address: /docs lists what there is.")


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the shape of a posted event, which the routes check one by one."""
    document = dict(app.openapi())
    schemas = document["components"]["schemas"]
    if "PostedEvent" not in schemas:
        event = contracts.PostedEvent.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= event.pop("$defs", {})
        schemas["PostedEvent"] = event
    return document


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def ours(request: Request, error: ApiError) -> Response:
        return _error(error.status, error.code, error.message, error.details)

    @app.exception_handler(BadToken)
    async def token(request: Request, error: BadToken) -> Response:
        return _error(400, "bad_token", str(error))

    @app.exception_handler(StoryshelfError)
    async def state(request: Request, error: StoryshelfError) -> Response:
        """The shop's home or a store can't be read or written now; what exactly names places of this machine and stays in the log."""
        log.error("%s", error)
        return _error(503, "unavailable", "The shop's data can't be read or written now; the log tells more under this request_id.")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = list(error.errors())
        if any(each["type"] == "json_invalid" for each in found):
            return _error(400, "malformed_json", "The body is not JSON: " + str(found[0].get("ctx", {}).get("error", "")))
        details = [{"field": field_name(each["loc"]), "problem": each["msg"].removeprefix("Value error, ")} for each in found[:20]]
        return _error(422, "invalid", f"{details[0]['field']}: {details[0]['problem']}", details)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        messages = {413: "The body is larger than this service takes.", 404: "There is nothing at this address: /docs lists what there is."}
        message = messages.get(error.status_code, str(error.detail))
        return _error(error.status_code, CODES.get(error.status_code, "error"), message, headers=dict(error.headers or {}))


def field_name(place: tuple[int | str, ...]) -> str:
    """`product_ids.3`: where in the body a wrong value stands."""
    return ".".join(str(part) for part in place if part != "body") or "body"


def _json(answer: contracts.Response, status: int = 200) -> Response:
    return JsonResponse(answer.model_dump(mode="json", by_alias=True), status)


def _error(status: int, code: str, message: str, details: list[dict[str, Any]] | None = None, headers: dict[str, str] | None = None) -> Response:
    body = contracts.ErrorBody(code=code, message=message, request_id=logs.request_id.get(), details=details or [])
    return JsonResponse({"error": body.model_dump(mode="json")}, status, headers)


class _Front:
    """Outermost: request id, limits of requests at a time and of bodies, metrics, one log line per answer, headers, and the answer to what nobody
    caught."""

    def __init__(self, app: ASGIApp, most: int, largest: int, balances: bool = False) -> None:
        self.app, self.most, self.largest, self.balances, self.now, self._moved_at = app, most, largest, balances, 0, 0.0
        self._ids = random.Random(os.urandom(32))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = f"{self._ids.getrandbits(128):032x}"  # always ours: a caller's X-Request-Id may be a customer's id, which belongs in no log
        token = logs.request_id.set(request_id)
        began, status = perf_counter(), 500
        body = _Body(receive, self.largest)

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                await body.drain()
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *SECURITY, *self._elsewhere()]
            await send(message)

        self.now += 1
        metrics.IN_FLIGHT.set(self.now)
        try:
            if self.now > self.most and scope["path"] not in UNMEASURED:
                busy = f"More than {self.most} requests are being answered: try again in a moment."
                await _error(503, "overloaded", busy, headers={"retry-after": str(RETRY_AFTER_S)})(scope, body.receive, send_on)
            else:
                await self._answer(scope, body.receive, send_on)
        finally:
            self.now -= 1
            metrics.IN_FLIGHT.set(self.now)
            _note(scope, status, perf_counter() - began)
            logs.request_id.reset(token)

    def _elsewhere(self) -> list[tuple[bytes, bytes]]:
        """Asks a caller to connect anew where other requests wait here: workers share one socket, the first to wake up takes all new connections, and
        these stay with it. An idle worker is the first to wake up next time."""
        now = perf_counter()
        if not self.balances or self.now < 2 or now - self._moved_at < MOVED_EVERY_S:
            return []
        self._moved_at = now
        return [(b"connection", b"close")]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            log.exception("A request failed")
            if started:
                raise
            message = "Something went wrong on our side; the log tells more under this request_id."
            await _error(500, "internal", message)(scope, receive, send)


class _Shortcut:
    """Answers a well-formed request for recommendations without the framework's way there. Everything else, and whatever is wrong with a request,
    goes the usual way: errors have one place."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != RECOMMENDATIONS or scope["method"] != "POST" or self.state.answers is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        body, failed = b"", None
        try:
            body = b"".join([part async for part in request.stream()])
        except (HTTPException, ClientDisconnect) as error:
            failed = error

        async def again() -> Message:
            if failed is not None:
                raise failed
            return {"type": "http.request", "body": body, "more_body": False}

        if failed is None and request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            try:
                asked = contracts.RecommendationsRequest.model_validate_json(body)
                answer = await self.state.answers.recommend(asked, logs.request_id.get(), self.state.has_key(request), self.state.turn)
            except (ValidationError, StoryshelfError):
                log.debug("The usual way tells what is wrong.")
            else:
                scope["route"] = self
                await JsonResponse(answer)(scope, again, send)
                return
        await self.app(scope, again, send)

    path = RECOMMENDATIONS
    """As the route's, for metrics and log."""


class _Body:
    """A request's body on its way in, at most `largest` bytes of it, whatever its Content-Length says or does not say."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive, self._largest, self._size, self._ended = receive, largest, 0, False

    async def receive(self) -> Message:
        """The next message of the body; raises 413 once the body has grown too large."""
        message = await self._receive()
        self._ended = not message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size > self._largest:
            raise HTTPException(413)
        return message

    async def drain(self) -> None:
        """Receive what is left and throw it away: a caller that is still sending would see a broken connection instead of the answer."""
        with anyio.move_on_after(DRAIN_S):
            while not self._ended:
                self._ended = not (await self._receive()).get("more_body", False)


def _note(scope: Scope, status: int, seconds: float) -> None:
    """One log line and the metrics of an answer, by the route's pattern: a path may hold a token."""
    route = getattr(scope.get("route"), "path", "none")
    route = "none" if route == "/{path:path}" else route
    metrics.REQUESTS.labels(route, str(status)).inc()
    metrics.SECONDS.labels(route).observe(seconds)
    if route not in UNMEASURED:
        log.info("%s %s %d %.1f ms", scope["method"], route, status, seconds * 1000)
