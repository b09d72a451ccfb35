"""Whom a campaign is meant for: an expression of terms joined by commas, all of which must hold.

    all                   every shopper the shop knows
    users:FILE            the shop's own ids, one per line
    interest:Category     looked at, put in the cart or bought from the category (any level of its path) in the last 90 days,
                          or likes it; and doesn't dislike it
    active:30d            did anything in the last 30 days of the shop's time
    country:GB            by the users table
    language:zh           by the users table

An audience is about who is meant, not about who may be written to: see `serving/consent.py`.
"""

import difflib
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb

from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from serving.errors import ServingError

_INTEREST_DAYS = 90
_TERM = re.compile(r",(?=\s*(?:all\s*(?:,|$)|(?:users|interest|active|country|language):))")
"""Commas that begin a new term; others belong to a value (a category may have one)."""

_HELP = "terms are all, users:FILE, interest:Category, active:30d, country:XX, language:zh, joined by commas"


class AudienceError(ServingError):
    """The expression is empty or wrong, or names what the shop does not have."""


def select(home: ShopHome, settings: Settings, expression: str) -> list[str]:
    """Pseudonyms of the audience, sorted; empty if nobody fits.

    Raises:
        AudienceError: see there.
    """
    if not expression.strip():
        raise AudienceError(f"The audience is empty: {_HELP}.")
    if not (home.tables / "events.parquet").exists():
        raise AudienceError(f"Shop '{home.shop}' has no tables: run `make features SHOP={home.shop}` first.")
    with duckdb.connect() as db:
        for table in ("events", "users", "products", "preferences", "consents"):
            if (home.tables / f"{table}.parquet").exists():
                db.read_parquet(str(home.tables / f"{table}.parquet")).create_view(table)
        audience: set[str] | None = None
        for term in _TERM.split(expression):
            found = _term(home, settings, db, term.strip())
            audience = found if audience is None else audience & found
    return sorted(audience or ())


def _term(home: ShopHome, settings: Settings, db: duckdb.DuckDBPyConnection, term: str) -> set[str]:
    if term == "all":
        return _all(db)
    kind, colon, value = term.partition(":")
    terms: dict[str, Callable[[str], set[str]]] = {
        "users": lambda file: _listed(home, settings, Path(file)),
        "interest": lambda category: _interested(home, db, category),
        "active": lambda span: _active(home, db, span),
        "country": lambda country: _with(db, "country", country),
        "language": lambda language: _with(db, "language", language),
    }
    if kind not in terms or not colon or not value.strip():
        raise AudienceError(f"'{term}' is no audience: {_HELP}.")
    return terms[kind](value.strip())


def _all(db: duckdb.DuckDBPyConnection) -> set[str]:
    tables = [table for table in ("users", "consents", "events") if _has(db, table)]
    return _users(db, " UNION ".join(f"SELECT user_id FROM {table} WHERE user_id IS NOT NULL" for table in tables))


def _listed(home: ShopHome, settings: Settings, file: Path) -> set[str]:
    pseudonyms = home.pseudonyms(settings)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AudienceError(
            f"Can't read the list of users {file} ({type(error).__name__}): give a text file (UTF-8) with one id per line."
        ) from error
    users = {pseudonyms.user(line.strip()) for line in lines if line.strip()}
    if not users:
        raise AudienceError(f"The list of users {file} is empty: put one of the shop's ids on each line.")
    return users


def _interested(home: ShopHome, db: duckdb.DuckDBPyConnection, category: str) -> set[str]:
    in_category = "(category = $category OR list_contains(list_transform(string_split(category_path, '>'), lambda x: trim(x)), $category))"
    products = db.execute(f"SELECT count(*) FROM products WHERE {in_category}", {"category": category}).fetchone()
    if not products or not products[0]:
        known = [str(row[0]) for row in db.execute("SELECT DISTINCT category FROM products WHERE category IS NOT NULL ORDER BY 1").fetchall()]
        near = difflib.get_close_matches(category, known, 3, 0.4) or known[:5]
        raise AudienceError(f"No product is in category '{category}'. Categories near it: {', '.join(near) or 'none'}.")
    acted = _users(
        db,
        f"""SELECT user_id FROM events SEMI JOIN (SELECT product_id FROM products WHERE {in_category}) USING (product_id)
            WHERE user_id IS NOT NULL AND event_type IN ('view', 'click', 'cart', 'purchase') AND event_time >= $since""",
        category=category,
        since=home.clock().now() - timedelta(days=_INTEREST_DAYS),
    )
    if not _has(db, "preferences"):
        return acted
    said = "SELECT user_id FROM preferences WHERE subject_kind = 'category' AND subject = $category AND sentiment = $sentiment"
    return (acted | _users(db, said, category=category, sentiment="like")) - _users(db, said, category=category, sentiment="dislike")


def _active(home: ShopHome, db: duckdb.DuckDBPyConnection, span: str) -> set[str]:
    days = re.fullmatch(r"([1-9]\d{0,3})d", span)
    if not days:
        raise AudienceError(f"'active:{span}' is no audience: give a number of days, as in active:30d.")
    since = home.clock().now() - timedelta(days=int(days[1]))
    # Being shown something, or sent something, is not being active.
    return _users(db, "SELECT user_id FROM events WHERE user_id IS NOT NULL AND event_type <> 'impression' AND event_time >= $since", since=since)


def _with(db: duckdb.DuckDBPyConnection, column: str, value: str) -> set[str]:
    return _users(db, f"SELECT user_id FROM users WHERE lower({column}) = lower($value)", value=value) if _has(db, "users") else set()


def _users(db: duckdb.DuckDBPyConnection, sql: str, **values: object) -> set[str]:
    return {str(row[0]) for row in db.execute(f"SELECT DISTINCT user_id FROM ({sql})", values).fetchall()}


def _has(db: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(db.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = $name AND NOT internal", {"name": table}).fetchone() != (0,))
