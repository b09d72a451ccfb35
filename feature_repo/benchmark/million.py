"""A large catalogue in the columns that serving holds: seconds and memory of the first process, of the next ones, and of a swap.

Storyshelf's own product views with random values, without the text embeddings: 45 numbers and 5 texts, a title of its own for every product among
them. Each process is a fresh one. Its memory is what loading added to it, after every column was touched: ids, index, titles and the shared files
alike. Of the files a second process holds no second copy: what it has for itself stands beside. A swap's memory is the most that was held beyond the
table that is in use. When a new build takes the place of the old one, one process loads it: that peak is the one of loading.
"""

import argparse
import io
import json
import logging
import resource
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore

from feature_repo.definitions import definitions
from feature_repo.packed.reader import PackedReader
from feature_repo.packed.table import EntityTable
from feature_repo.store import feature_refs, leave_duckdb, repo_config
from feature_repo.vectors import PRODUCT_SCALARS

log = logging.getLogger(__name__)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LEFT_OUT = "product_embedding"
CHANGED = 100
"""One product in so many changes before the swap."""
ADDED = 1_000
"""Products that come new, for a second swap."""


def million(folder: Path, products: int) -> dict[str, float]:
    """Figures by name: `catalogue_…`."""
    folder.mkdir()
    seconds = _write(folder, products)
    log.info("%d products are in the online store (%.0f s).", products, seconds)
    first, second = _worker(folder), _worker(folder)
    return {
        "catalogue_products": products,
        "catalogue_features": first["features"],
        "catalogue_materialize_rows_per_s": first["views"] * products / seconds,
        "catalogue_load_s": first["load_s"],
        "catalogue_mb": first["held_mb"],
        "catalogue_load_peak_mb": first["peak_mb"],
        "catalogue_next_worker_load_s": second["load_s"],
        "catalogue_next_worker_mb": second["held_mb"],
        "catalogue_next_worker_own_mb": second["own_mb"],
        "catalogue_swap_products": second["changed"],
        "catalogue_swap_s": second["swap_s"],
        "catalogue_swap_peak_mb": second["swap_peak_mb"],
        "catalogue_new_products": second["added"],
        "catalogue_new_products_s": second["grow_s"],
        "catalogue_new_products_peak_mb": second["grow_peak_mb"],
    }


def _store(folder: Path) -> FeatureStore:
    """A build's store on SQLite, whatever the setting says."""
    config = repo_config(folder, new=not (folder / "online.db").exists())
    config.online_store.redis = ""
    return FeatureStore(config=config)


def _write(folder: Path, products: int) -> float:
    """Random product tables in a build's folder, materialised; seconds of `materialize`."""
    random = np.random.default_rng(3)
    views = [view for view in definitions(folder).views if view.entities == ["product"]]
    for view in views:
        pq.write_table(_table(view.features, products, NOON, random), folder / f"{view.name}.parquet")
    store = _store(folder)
    with redirect_stdout(io.StringIO()):
        store.apply(definitions(folder).all())
        started = time.perf_counter()
        store.materialize(datetime(1970, 1, 2, tzinfo=UTC), NOON, feature_views=[view.name for view in views])
    seconds = time.perf_counter() - started
    leave_duckdb()
    PackedReader(store, []).rows.settle()
    return seconds


def _table(features: object, products: int, at: datetime, random: np.random.Generator) -> pa.Table:
    times = pa.array([at] * products, pa.timestamp("us", "UTC"))
    columns = {"product_id": pa.array([f"P{number:08d}" for number in range(products)]), "event_timestamp": times, "created_timestamp": times}
    for feature in features:  # type: ignore[attr-defined]
        kind = str(feature.dtype)
        if kind == "String":
            own = feature.name == "product_title"
            words = [f"Title of a product, number {number}" for number in range(products)] if own else [f"{feature.name} {n}" for n in range(400)]
            columns[feature.name] = pa.array(words) if own else pa.array(np.array(words, object)[random.integers(0, 400, products)], pa.string())
        elif feature.name == LEFT_OUT:
            columns[feature.name] = pa.nulls(products, pa.list_(pa.float32()))
        else:
            values = random.gamma(2, 10, products)
            columns[feature.name] = pa.array(values.astype(np.float32) if kind == "Float32" else values, mask=random.random(products) < 0.1)
    return pa.table(columns)


def _worker(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "feature_repo.benchmark.million", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The process that loads the catalogue failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def load(folder: Path) -> dict[str, float]:
    """What one process measures: loading, touching everything, then a swap after some products changed."""
    store = _store(folder)
    reader = PackedReader(store, [ref for ref in feature_refs("product") if not ref.endswith(f":{LEFT_OUT}")])
    before = _memory()
    started = time.perf_counter()
    table = EntityTable.shared(reader, folder / "products", PRODUCT_SCALARS)
    seconds = time.perf_counter() - started
    peak = _peak() - before["Rss"]
    _touch(table)
    after = _memory()
    found = {
        "features": sum(len(part.slots) for part in reader.parts), "views": len(reader.parts), "load_s": seconds, "peak_mb": peak,
        "held_mb": after["Rss"] - before["Rss"], "own_mb": after["Private_Dirty"] - before["Private_Dirty"],
    }  # fmt: skip
    chosen = np.sort(np.random.default_rng(4).choice(len(table.ids), max(len(table.ids) // CHANGED, 1), replace=False))
    held = table.column("product_views_7d", chosen).copy()
    known = table.ids[chosen].tolist()
    _change(store, reader, known, -1)
    fresh, seconds, most = _swapped(table)
    found |= {"swap_s": seconds, "swap_peak_mb": most, "changed": len(known)}
    assert np.array_equal(table.column("product_views_7d", chosen), held, equal_nan=True)
    assert (fresh.column("product_views_7d", chosen) == -1).all()
    del table
    new = [f"N{len(fresh.ids) + number:08d}" for number in range(ADDED)]
    _change(store, reader, new, -2)
    grown, seconds, most = _swapped(fresh)
    found |= {"grow_s": seconds, "grow_peak_mb": most, "added": len(new)}
    assert (grown.column("product_views_7d", grown.index.rows(new)) == -2).all() and len(grown.ids) == len(fresh.ids) + ADDED
    return found


def _swapped(table: EntityTable) -> tuple[EntityTable, float, float]:
    """The table that follows, seconds, and the most memory that was held meanwhile beyond what the old one takes (MB)."""
    before, most, done = _memory()["Rss"], [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], _memory_now())

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.perf_counter()
    fresh = table.refreshed()
    seconds = time.perf_counter() - started
    done.set()
    watching.join()
    return fresh, seconds, max(most[0], _memory()["Rss"]) - before


def _change(store: FeatureStore, reader: PackedReader, ids: list[str], views: float) -> None:
    """Write one view of these products anew."""
    view = store.get_feature_view("product_activity")
    later = datetime.now(UTC) + timedelta(days=1)  # whichever process comes next is later still
    rows = _table(view.features, len(ids), later, np.random.default_rng(5))
    rows = rows.set_column(0, "product_id", pa.array(ids))
    rows = rows.set_column(rows.column_names.index("product_views_7d"), "product_views_7d", pa.array(np.full(len(ids), views, np.float32)))
    reader.packed.write_table(store.config, view, rows)


def _touch(table: EntityTable) -> None:
    """Bring every page in."""
    for _, array in table.columns.arrays():
        array.view(np.uint8).reshape(-1)[::4096].sum()


def _memory() -> dict[str, float]:
    """Of this process, MB by the kernel's names."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(value) / 1024 for name, value, *_ in map(str.split, lines)}


def _memory_now() -> float:
    """Resident MB; a hundredth of the cost of `_memory`."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024**2


def _peak() -> float:
    """Most resident MB of this process. `getrusage` would count what its parent held when it started it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One process of the measurement; `features.py` starts it.")
    parser.add_argument("folder", type=Path)
    print(json.dumps(load(parser.parse_args().folder)))
