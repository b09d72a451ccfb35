"""FLOW of `make features`: tables -> feature tables -> feast apply -> materialise.

    python -m feature_repo.build --shop demo
    python -m feature_repo.build --shop online_retail --data <folder>

A build is a folder of its own with tables, registry and online store, put in place at the end by turning one link: a service or a training
that reads meanwhile goes on with the old one. One at a time works on a home.
"""

import argparse
import hashlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from feature_repo import logs
from feature_repo.declarations import PRODUCT_ACTIVITY, USER_ACTIVITY, USER_COPY_TASTE
from feature_repo.definitions import definitions
from feature_repo.embedding import Embedder, SentenceTransformers, TfidfSvd, load_embedder
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from feature_repo.ingest import ingest, read_tables
from feature_repo.settings import Settings
from feature_repo.sources import READERS
from feature_repo.store import Build, current, forget, materialise, online_rows, told
from feature_repo.transforms import circle, interest, products, social
from feature_repo.transforms.acts import acts
from feature_repo.windows import Declared, execute
from feature_repo.workbench import Workbench

log = logging.getLogger(__name__)

AHEAD = timedelta(days=92)
"""Expiries that lie ahead of the build are written too: windows empty without a build. The longest is 90 days and its current bucket."""
KEPT_BUILDS = 2
"""Builds kept: the current one and the one that a reader may still be in."""


@dataclass(frozen=True)
class BuildReport:
    """What a build did. `undated`: products whose price the catalogue does not date; of them `unpriced` have no price in any past event."""

    shop: str
    version: str
    as_of: datetime
    seconds: dict[str, float]
    rows: dict[str, int]
    users: int
    products: int
    undated: int
    unpriced: int
    derived_categories: bool
    market_step_days: int
    embedding_version: str

    def text(self) -> str:
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        notes = [f"Features {self.version} of '{self.shop}' as of {self.as_of:%Y-%m-%d %H:%M} UTC: {self.users} users, {self.products} products."]
        if self.undated:
            notes.append(f"{self.undated} products are undated: their prices come from past events; {self.unpriced} have none there.")
        if self.derived_categories:
            notes.append("The shop has no categories: they are derived from the text embedding.")
        if self.market_step_days > 1:
            notes.append(f"product_market has one row per {self.market_step_days} days.")
        return "\n".join([*notes, f"Seconds: {stages}."])


@dataclass
class _Stages:
    """Times the steps and shows them."""

    progress: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bar = tqdm(total=11, disable=None if self.progress else True, unit="step")

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._bar.set_description(name)
        started, worked = time.monotonic(), time.process_time()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self._bar.update()
        log.info("%s: %.1f s (%.1f s of CPU)", name, self.seconds[name], time.process_time() - worked)


def build(home: ShopHome, settings: Settings, progress: bool = True, embedder: Embedder | None = None) -> BuildReport:
    """Make the features of a shop from its tables and the events posted to it, as of its clock.

    Raises:
        FeatureRepoError: nothing was ingested.
    """
    as_of = home.clock().now()
    stage = _Stages(progress)
    folder = home.features / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    folder.mkdir(parents=True)
    with stage("read"):
        tables = read_tables(home)
        known = _known(tables["events"], as_of)
        if waiting := int((~known).sum()):
            log.info("%d events lie after the shop's clock or arrived after it: a later build takes them in.", waiting)
        tables["events"] = tables["events"][known]
        bench = Workbench.open(tables, as_of, folder)
    with stage("text"):
        model = embedder or _embedder(settings, products.latest(tables["products"]))
        derived = _derive_categories(tables, model)
        products.texts(bench, model)
        model.save(folder / "embedding")
    with stage("products"):
        interest.preferences(bench)
        undated = products.offers(bench)
        step = products.market(bench)
        acts(bench)
    rows: dict[str, int] = {}
    with stage("windows"):
        for view, declared in (("user_activity", USER_ACTIVITY), ("user_copy_taste", USER_COPY_TASTE), ("product_activity", PRODUCT_ACTIVITY)):
            rows[view] = _write_windowed(bench, folder, view, declared)
    with stage("social"):
        social.social(bench)
        interest.stated(bench)
        interest.preference_counts(bench)
    with stage("interests"):
        rows["user_interest"] = _write(bench, folder, "user_interest", "users", interest.interests(bench))
        rows["user_history"] = _write(bench, folder, "user_history", "users", interest.history(bench))
    with stage("circles"):
        rows["user_circle"] = _write(bench, folder, "user_circle", "users", circle.circle(bench))
    with stage("tables"):
        for view, entity, table in _TABLES:
            rows[view] = _write(bench, folder, view, entity, table)
    counts = {name: int(bench.frame(f"select count(*) as n from {name}")["n"][0]) for name in ("users", "items")}
    bench.backend.disconnect()
    version = f"{as_of:%Y%m%dT%H%M%S}-{_content(folder)}"
    made = Build(folder, version, as_of, model.version, derived)
    with stage("apply"):
        store = made.store(new=True)
        with told():
            store.apply(definitions(folder).all())
    with stage("materialise"):
        materialise(store, as_of)
    online_rows(store).settle()
    made.seal()
    _point_to(current(home), folder)
    _forget_old(home)
    return BuildReport(
        shop=home.shop, version=version, as_of=as_of, seconds=stage.seconds, rows=rows, users=counts["users"], products=counts["items"],
        undated=undated.products, unpriced=undated.without_price, derived_categories=derived, market_step_days=step, embedding_version=model.version,
    )  # fmt: skip


_TABLES = (
    ("user_social", "users", "social"),
    ("user_preferences", "users", "preference_counts"),
    ("product_offer", "items", "offers"),
    ("product_market", "items", "market"),
    ("product_text", "items", "texts"),
)
"""View, table of its entity's names, table that transforms made."""


def _known(events: pd.DataFrame, as_of: datetime) -> pd.Series:
    return events[["event_time", "arrived_at"]].max(axis=1) <= pd.Timestamp(as_of)


def _kept_embedder(home: ShopHome) -> Embedder | None:
    """The embedding of the last build: the models were trained with it, and only with the same one can products that came later be added to them."""
    folder = current(home) / "embedding"
    return load_embedder(folder) if folder.exists() and not os.environ.get("STORYSHELF_EMBEDDING") else None


def _embedder(settings: Settings, catalogue: pd.DataFrame) -> Embedder:
    checkpoint = os.environ.get("STORYSHELF_EMBEDDING", "")
    return SentenceTransformers(checkpoint) if checkpoint else TfidfSvd.fit(products.text_of(catalogue))


def _derive_categories(tables: dict[str, pd.DataFrame], model: Embedder) -> bool:
    """Fill in categories where no product has one; says whether it did."""
    if tables["products"]["category"].fillna("").ne("").any():
        return False
    names = products.derive_categories(tables["products"], model)
    filled = tables["products"].copy()
    filled["category"] = filled["product_id"].astype(str).map(names)
    filled["category_path"] = filled["category"]
    tables["products"] = filled
    return True


def _write_windowed(bench: Workbench, folder: Path, view: str, declared: tuple[Declared, ...]) -> int:
    entity = declared[0].entity if not hasattr(declared[0], "over") else ""
    names = bench.backend.table("users" if entity == "user_id" else "items")
    values = execute(bench.backend.table("acts"), declared, bench.as_of + AHEAD)
    typed = _float32(values, view)
    named = typed.join(names, entity).drop(entity).rename({entity: "name"})
    file = folder / f"{view}.parquet"
    bench.backend.to_parquet(named, file, compression="zstd")
    return int(pq.ParquetFile(file).metadata.num_rows)


def _float32(values: Any, view: str) -> Any:
    """The types that Feast's definitions name."""
    narrow = [f.name for v in definitions(Path()).views if v.name == view for f in v.features if str(f.dtype) == "Float32"]
    return values.mutate(**{name: values[name].cast("float32") for name in narrow})


def _write(bench: Workbench, folder: Path, view: str, entity: str, table: "str | pa.Table") -> int:
    """A table with codes and `at_us` (microseconds) -> Parquet with names and times, columns as Feast defines them."""
    key = "user_id" if entity == "users" else "product_id"
    columns = {f.name: str(f.dtype) for v in definitions(Path()).views if v.name == view for f in v.features}
    if not isinstance(table, str):
        bench.backend.con.register("_arrow", table)
    source = table if isinstance(table, str) else "_arrow"
    # A view's product_embedding is a list; the rest are casts to what the definition says.
    selected = ", ".join(f'cast(t."{name}" as {_DUCKDB[dtype]}) as "{name}"' for name, dtype in columns.items())
    file = folder / f"{view}.parquet"
    bench.sql(
        f"""copy (select n.name as {key}, make_timestamptz(t.at_us) as event_timestamp, make_timestamptz(t.at_us) as created_timestamp, {selected}
        from {source} t join {entity} n on n.{key} = t.{key}) to '{file}' (format parquet, compression zstd)"""
    )
    return int(pq.ParquetFile(file).metadata.num_rows)


_DUCKDB = {
    "Float32": "float", "Float64": "double", "String": "varchar",
    "Array(String)": "varchar[]", "Array(Float32)": "float[]", "Array(Float64)": "double[]",
}  # fmt: skip


def _point_to(link: Path, folder: Path) -> None:
    """Put the version in place at once."""
    part = link.with_name("current.part")
    part.unlink(missing_ok=True)
    part.symlink_to(folder.name)
    part.replace(link)


def _forget_old(home: ShopHome) -> None:
    now = current(home).resolve()
    others = [path for path in sorted(home.features.iterdir()) if path.is_dir() and not path.is_symlink() and path.resolve() != now]
    whole = [path for path in others if Build.sealed(path)]
    for path in set(others) - set(whole[-(KEPT_BUILDS - 1) :]):
        forget(path)


def _content(folder: Path) -> str:
    """Hash of the tables' contents: the same for the same rows, whatever order they were written in."""
    found = hashlib.sha256()
    connection = Workbench.plain()
    for file in sorted(folder.glob("*.parquet")):
        total = connection.execute(f"select count(*), sum(hash(t)::hugeint) from '{file}' t").fetchone()
        found.update(f"{file.name}:{total}".encode())
    connection.close()
    return found.hexdigest()[:10]


def slug(name: str) -> str:
    """A shop's name from a folder's: letters, digits, '-' and '_'."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:64] or "shop"


@contextmanager
def prepared(settings: Settings, shop: str, data: Path | None) -> Iterator[ShopHome]:
    """The home of `--shop` with its tables ingested: a source's name, a folder, or (without data) the name of a shop that is there already.
    Nobody else works on it meanwhile.

    Raises:
        FeatureRepoError: from ingestion, no such home, or somebody is at work on it.
    """
    folder = Path(shop)
    is_folder = bool(shop) and shop not in READERS and folder.is_dir()
    if is_folder and data is None:
        data, shop = folder, slug(folder.resolve().name)
    home = ShopHome.named(settings, shop) if shop else None
    remembered = home.manifest() if home and home.manifest_file.exists() else {}
    if shop not in READERS and data is None and not remembered.get("source"):
        home = ShopHome.open(settings, shop)
        remembered = home.manifest()
        shop = home.shop
    source = shop if shop in READERS else str(remembered.get("source") or shop)
    kept = remembered.get("folder")
    data = data or (Path(kept) if kept else None)
    home = ShopHome.create(settings, shop)
    with home.at_work():
        report = ingest(home, settings, source, data)
        log.info("%s", report.text())
        yield home


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a shop's features.")
    parser.add_argument("--shop", default="", help="a source, a folder, or a shop made before; default: the one trained last")
    parser.add_argument("--data", type=Path, default=None, help="folder with the tables")
    arguments = parser.parse_args()
    logs.configure()
    try:
        settings = Settings.read()
        with prepared(settings, arguments.shop or settings.shop, arguments.data) as home:
            print(build(home, settings, embedder=_kept_embedder(home)).text())
    except StoryshelfError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
