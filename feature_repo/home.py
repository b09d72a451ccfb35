"""A shop's home: the one folder that holds everything a shop owns, and what was agreed about it.

A home is made by `make features` or `make train` and deleted by `make reset`. Nothing outside it belongs to the shop.
"""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feature_repo.errors import FeatureRepoError
from feature_repo.settings import Settings

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
"""Version of the home's layout, its tables, event log and journal. Raise it together with a migration in `_migrate`."""


@dataclass(frozen=True)
class ShopClock:
    """The shop's own time. A historical data set goes on from its last event as if that had just happened.

    `offset` is wall time minus shop time; zero for a shop whose events are current.
    """

    offset: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) - self.offset


@dataclass(frozen=True)
class Pseudonyms:
    """Turns the shop's own user ids into stable pseudonyms with HMAC-SHA-256 (RFC 2104)."""

    key: bytes

    def user(self, shop_id: str) -> str:
        """`u_` and 24 hex digits; the same for the same id and key, and not to be turned back without the key."""
        return "u_" + hmac.new(self.key, shop_id.encode(), hashlib.sha256).hexdigest()[:24]

    @property
    def fingerprint(self) -> str:
        """Tells whether two keys are the same without giving either away."""
        return hashlib.sha256(b"storyshelf-key:" + self.key).hexdigest()[:16]


@dataclass(frozen=True)
class ShopHome:
    """Paths of one shop's home. Build it with `create` or `open`, never by hand outside tests."""

    root: Path

    @property
    def shop(self) -> str:
        return self.root.name

    @property
    def manifest_file(self) -> Path:
        return self.root / "home.json"

    @property
    def tables(self) -> Path:
        """Accepted, pseudonymised tables: products, events, users, ties, preferences, consents (Parquet)."""
        return self.root / "tables"

    @property
    def quarantine(self) -> Path:
        """Rows that broke the contract, one Parquet file per table, with a `reason` column."""
        return self.root / "quarantine"

    @property
    def contacts_db(self) -> Path:
        """Addresses (SQLite, mode 600). Only channels read it."""
        return self.root / "contacts.db"

    @property
    def events_db(self) -> Path:
        """Events posted to the service, durable on acknowledgement (SQLite)."""
        return self.root / "events.db"

    @property
    def outbox_db(self) -> Path:
        """Campaign deliveries and suppressions (SQLite)."""
        return self.root / "outbox.db"

    @property
    def sink(self) -> Path:
        """Mails that the local sink took, one .eml each."""
        return self.root / "sink"

    @property
    def campaigns(self) -> Path:
        """What dry runs wrote."""
        return self.root / "campaigns"

    @property
    def features(self) -> Path:
        """Builds of the features, one folder each (`feature_repo/store.py`), and `current`, a link to the one that holds."""
        return self.root / "features"

    @property
    def mlflow_uri(self) -> str:
        return f"sqlite:///{(self.root / 'mlflow.db').resolve()}"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def bentos(self) -> Path:
        """BENTOML_HOME of this shop."""
        return self.root / "bentos"

    @property
    def evaluation_file(self) -> Path:
        """What the last training measured (JSON)."""
        return self.root / "evaluation.json"

    @property
    def ingest_report_file(self) -> Path:
        """What ingestion read, accepted and set aside, with reasons (JSON)."""
        return self.root / "ingest_report.json"

    @property
    def monitoring(self) -> Path:
        return self.root / "monitoring"

    @property
    def key_file(self) -> Path:
        return self.root / "key"

    @classmethod
    def named(cls, settings: Settings, shop: str) -> "ShopHome":
        """Where the home of `shop` is, or would be.

        Raises:
            FeatureRepoError: no name of a shop, which could lead out of the folder of homes.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", shop):
            raise FeatureRepoError(f"'{shop}' is no shop name: use letters, digits, '-' and '_', at most 64.")
        return cls(settings.home / shop)

    @classmethod
    def create(cls, settings: Settings, shop: str) -> "ShopHome":
        """The shop's home, made if it is not there yet (then with a new key unless one is set)."""
        home = cls.named(settings, shop)
        if home.manifest_file.exists():
            return cls.open(settings, shop)
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        pseudonyms = home._new_key(settings)
        home.write_manifest({"schema_version": SCHEMA_VERSION, "shop": shop, "key_fingerprint": pseudonyms.fingerprint})
        return home

    @classmethod
    def open(cls, settings: Settings, shop: str = "") -> "ShopHome":
        """An existing home. Without a name: the one in settings, else the shop trained last.

        Raises:
            FeatureRepoError: no such home, its manifest is damaged, or its schema is newer than this program.
        """
        shop = shop or settings.shop or last_shop(settings)
        home = cls.named(settings, shop)
        if not home.manifest_file.exists():
            raise FeatureRepoError(f"No home for shop '{shop}' in {settings.home}: run `make train SHOP={shop} DATA=<folder>` first.")
        version = home.manifest().get("schema_version")
        if not isinstance(version, int):
            raise FeatureRepoError(home._damaged())
        if version > SCHEMA_VERSION:
            raise FeatureRepoError(
                f"Home {home.root} has schema {version}, this program knows {SCHEMA_VERSION}: update Storyshelf, or `make reset SHOP={shop}`."
            )
        if version < SCHEMA_VERSION:
            home._migrate(version)
        return home

    def manifest(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.manifest_file.read_text()))
        except (ValueError, TypeError) as error:
            raise FeatureRepoError(self._damaged()) from error

    def _damaged(self) -> str:
        return f"{self.manifest_file} is damaged: restore it, or delete that file and run `make train SHOP={self.shop} DATA=<folder>` again."

    def write_manifest(self, changes: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Merge `changes` into the manifest, atomically; a function makes them of what stands there."""
        with self.locked("manifest"):
            old = self.manifest() if self.manifest_file.exists() else {}
            part = self.manifest_file.with_suffix(".part")
            part.write_text(json.dumps(old | (changes(old) if callable(changes) else changes), indent=1, sort_keys=True))
            part.replace(self.manifest_file)

    @contextmanager
    def locked(self, what: str, refuse: str = "") -> Iterator[None]:
        """Hold one of the home's locks (a file; the system frees it when its holder dies). Waits for another holder.

        Raises:
            FeatureRepoError: `refuse` is given and somebody else holds the lock: its text, with the home, says what they do.
        """
        with (self.root / f".{what}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refuse else 0))
            except BlockingIOError:
                raise FeatureRepoError(f"Shop '{self.shop}' ({self.root}): {refuse}") from None
            yield

    def at_work(self) -> AbstractContextManager[None]:
        """Held by what rewrites tables, features or models: one at a time per home.

        Raises:
            FeatureRepoError: another one is at work.
        """
        return self.locked("work", "another `make features`, `make train` or `make reset` is at work on it. Wait until it has ended.")

    def clock(self) -> ShopClock:
        return ShopClock(timedelta(seconds=float(self.manifest().get("clock_offset_s", 0.0))))

    def pseudonyms(self, settings: Settings) -> Pseudonyms:
        """The shop's pseudonymiser.

        Raises:
            FeatureRepoError: the key is gone, or is not the one the shop's data were pseudonymised with.
        """
        if settings.key:
            key = _parse_key(settings.key)
        elif self.key_file.exists():
            key = _parse_key(self.key_file.read_text(errors="replace").strip())
        else:
            raise FeatureRepoError(
                f"The key of shop '{self.shop}' is gone ({self.key_file}): restore the file or set STORYSHELF_KEY. "
                f"Without it no user can be recognised; `make reset SHOP={self.shop}` starts over with a new one."
            )
        found = Pseudonyms(key)
        if found.fingerprint != self.manifest()["key_fingerprint"]:
            raise FeatureRepoError(
                f"The key for shop '{self.shop}' is not the one its data were pseudonymised with: restore {self.key_file} or STORYSHELF_KEY."
            )
        return found

    def remember_as_last(self) -> None:
        (self.root.parent / "last").write_text(self.shop)

    def _new_key(self, settings: Settings) -> Pseudonyms:
        if settings.key:
            return Pseudonyms(_parse_key(settings.key))
        if self.key_file.exists():  # of a home whose manifest was lost, or was not written yet when the program was killed
            return Pseudonyms(_parse_key(self.key_file.read_text(errors="replace").strip()))
        key = secrets.token_bytes(32)
        descriptor = os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex())
        return Pseudonyms(key)

    def _migrate(self, version: int) -> None:
        """Schema 1 kept one registry and one online store beside the builds of the features: they have to be built again."""
        log.warning("Home %s moves from schema %d to %d: run `make features SHOP=%s`.", self.root, version, SCHEMA_VERSION, self.shop)
        with self.locked("manifest"):
            for name in ("registry.db", "online.db"):
                (self.root / name).unlink(missing_ok=True)
        self.write_manifest({"schema_version": SCHEMA_VERSION})


def last_shop(settings: Settings) -> str:
    """Name of the shop trained last."""
    file = settings.home / "last"
    if not file.exists():
        raise FeatureRepoError("No shop was trained yet: run `make train` (the demo shop) or `make train SHOP=<name> DATA=<folder>`.")
    return file.read_text().strip()


def _parse_key(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise FeatureRepoError("The pseudonymisation key must be 64 hex digits (make one with `openssl rand -hex 32`).")
    return bytes.fromhex(text)
