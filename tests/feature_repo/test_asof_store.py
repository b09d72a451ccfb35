"""Point-in-time reads by known answers, and by what Feast's own DuckDB store answers to the same question."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource
from feast.data_format import DeltaFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.repo_config import RepoConfig
from feast.types import Array, FeastType, Float32, Float64, Int64, String
from feast.value_type import ValueType

from feature_repo import asof_store
from feature_repo.asof_join import Moments, plain
from feature_repo.asof_store import AsofOfflineStore
from feature_repo.errors import FeatureRepoError

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
PRODUCT = Entity(name="product", join_keys=["product_id"], value_type=ValueType.INT64)
NOON = pd.Timestamp("2024-05-01 12:00", tz="UTC")


def hours(*numbers: float | None) -> pa.Array:
    """Times so many hours after noon."""
    return pa.array([None if n is None else NOON + pd.Timedelta(hours=n) for n in numbers], pa.timestamp("us", "UTC"))


def config(folder: Path, kind: str, **options: Any) -> RepoConfig:
    return RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": {"asof": "feature_repo.asof_store.AsofOfflineStore", "duckdb": "duckdb"}[kind], **options},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
        repo_path=folder,
    )


def view(
    name: str,
    file: Path,
    fields: dict[str, FeastType],
    entities: tuple[Entity, ...] = (USER,),
    created: str | None = "created_timestamp",
    **more: Any,
) -> FeatureView:
    source = FileSource(
        name=f"{name}_table", path=str(file), timestamp_field="event_timestamp", created_timestamp_column=created, **more.pop("source", {})
    )
    keys = [Field(name=e.join_key, dtype=String if e.value_type == ValueType.STRING else Int64) for e in entities]
    schema = [*keys, *(Field(name=field, dtype=dtype) for field, dtype in fields.items())]
    return FeatureView(name=name, entities=list(entities), schema=schema, source=source, **more)


class Shop:
    """One registry, read by a store of either kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store("asof").apply([USER, PRODUCT])

    def store(self, kind: str = "asof", **options: Any) -> FeatureStore:
        return FeatureStore(config=config(self.folder, kind, **options))

    def write(self, name: str, **columns: Any) -> Path:
        file = self.folder / f"{name}.parquet"
        pq.write_table(pa.table(columns), file, row_group_size=3)
        return file

    def read(self, views: FeatureView | list[FeatureView], labels: pd.DataFrame, kind: str = "asof", full: bool = False, **options: Any) -> pa.Table:
        """All features of the views; `known=True` asks Feast's own store for what was created by then."""
        known, store = options.pop("known", False), self.store(kind, **options)
        views = views if isinstance(views, list) else [views]
        refs = [f"{v.projection.name_to_use()}:{f.name}" for v in views for f in v.projection.features]
        ask: Callable[..., Any] = AsofOfflineStore.get_historical_features if kind == "asof" else DuckDBOfflineStore.get_historical_features
        return ask(store.config, views, refs, labels.copy(), store.registry, store.project, full, filter_by_created_timestamp=known).to_arrow()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    yield Shop(tmp_path_factory.mktemp("shop"))


def at(*times: float, user: str | list[str] = "u") -> pd.DataFrame:
    return pd.DataFrame({"user_id": user, "event_timestamp": hours(*times).to_pandas()})


def test_a_correction_is_seen_from_when_it_came_and_what_it_corrected_before(shop: Shop) -> None:
    file = shop.write(
        "late", user_id=["u"] * 4, event_timestamp=hours(1, 1, 2, 3), created_timestamp=hours(1, 4, 5, 3), value=[10.0, 11.0, 20.0, 30.0]
    )
    corrected = view("late", file, {"value": Float64})
    # 1: the first version. 3: the third event. 4: the first event's correction came, but the third event is later. 5: so it is still.
    assert shop.read(corrected, at(0.5, 1, 2.5, 3, 4, 5))["value"].to_pylist() == [None, 10, 10, 30, 30, 30]
    # Without the third event: the correction from 4 on, the second event from 5 on.
    pq.write_table(pq.read_table(file).slice(0, 3), file)
    assert shop.read(corrected, at(0.5, 1, 2.5, 3.9, 4, 4.5, 5, 9))["value"].to_pylist() == [None, 10, 10, 10, 11, 11, 20, 20]


def test_feasts_own_store_sees_what_came_later_and_ours_if_told_to(shop: Shop) -> None:
    file = shop.write("leaky", user_id=["u", "u"], event_timestamp=hours(1, 1), created_timestamp=hours(1, 4), value=[10.0, 11.0])
    leaky, labels = view("leaky", file, {"value": Float64}), at(2)
    assert shop.read(leaky, labels, "duckdb")["value"].to_pylist() == [11]
    assert shop.read(leaky, labels, "duckdb", known=True)["value"].to_pylist() == [10]
    assert shop.read(leaky, labels)["value"].to_pylist() == [10]
    assert shop.read(leaky, labels, exclude_late=False)["value"].to_pylist() == [11]
    assert shop.read(leaky, labels, exclude_late=False, known=True)["value"].to_pylist() == [10]


def test_one_row_per_label_in_order(shop: Shop) -> None:
    file = shop.write("order", user_id=["u", "v"], event_timestamp=hours(1, 2), created_timestamp=hours(1, 2), value=[1.0, 2.0])
    labels = at(3, 1, 3, 0, 2, 9, user=["v", "u", "v", "u", "nobody", "u"]).set_index(pd.Index([7, 7, 1, 0, 2, 2]))
    labels["note"] = list("abcdef")
    found = shop.read(view("order", file, {"value": Float64}), labels)
    assert found.column_names == ["user_id", "event_timestamp", "note", "value"]
    assert found["note"].to_pylist() == list("abcdef")
    assert found["value"].to_pylist() == [2, 1, 2, None, None, 1]
    missing = pd.DataFrame({"user_id": ["u", None, "u"], "event_timestamp": [NOON + pd.Timedelta(hours=1), NOON, pd.NaT]})
    assert shop.read(view("order", file, {"value": Float64}), missing)["value"].to_pylist() == [1, None, None]
    assert shop.read(view("order", file, {"value": Float64}), labels[:0]).num_rows == 0


@pytest.mark.parametrize("block", range(8))
def test_random_shapes_are_answered_as_feasts_own_store_does(shop: Shop, block: int) -> None:
    """Duplicates, ties, missing keys and times, unknown entities, times to live, late rows; 240 shapes."""
    for seed in range(block * 30, block * 30 + 30):
        random = np.random.default_rng(seed)
        rows, count, people, span = (int(random.integers(low, high)) for low, high in ((0, 60), (1, 40), (1, 6), (1, 30)))
        event = random.integers(0, span, rows)
        created = event + random.choice([0, 0, 0, 1, 5, -2], rows) * random.integers(0, 2)
        who = random.integers(0, people, rows)
        holes = random.random(rows) < 0.1 * random.integers(0, 2)
        # A row's value follows from entity and times: where both times tie, any of the rows is right.
        value = (who * 10_000 + event * 100 + np.where(holes, 50, created)).astype(float)
        file = shop.write(
            f"random_{block}",
            user_id=pa.array([None if n == 5 else f"u{n}" for n in who], pa.string()),
            event_timestamp=hours(*event),
            created_timestamp=hours(*(None if hole else float(c) for c, hole in zip(created, holes, strict=True))),
            value=pa.array([None if v % 7 == 0 else v for v in value], pa.float64()),
            words=pa.array([[f"w{v}"] * int(v % 3) for v in value], pa.list_(pa.string())),
        )
        ttl = timedelta(hours=int(random.integers(0, 6)))
        shape = view(f"random_{block}", file, {"value": Float64, "words": Array(String)}, ttl=ttl)
        labels = pd.DataFrame(
            {
                "user_id": [None if n == 7 else f"u{n}" for n in random.integers(0, people + 2, count)],
                "event_timestamp": hours(*random.integers(-1, span + 3, count)).to_pandas(),
                "number": range(count),
            }
        )
        late = bool(seed % 2)
        theirs = shop.read(shape, labels, "duckdb", known=not late).sort_by("number")
        ours = shop.read(shape, labels, exclude_late=not late)
        assert ours.to_pylist() == theirs.to_pylist(), f"seed {seed}"
        assert ours.schema.types == theirs.schema.types


def test_types_are_those_of_feasts_own_store(shop: Shop) -> None:
    kinds = {
        "f32": pa.array([1, None], pa.float32()), "f64": pa.array([1.5, 2]), "f16": pa.array(np.array([1, 2], np.float16)),
        "i8": pa.array([1, 2], pa.int8()), "i32": pa.array([1, 2], pa.int32()), "i64": pa.array([2**53 + 1, 2]), "u32": pa.array([1, 2], pa.uint32()),
        "yes": pa.array([True, None]), "text": pa.array(["x", None]), "large": pa.array(["x", "y"], pa.large_string()),
        "few": pa.array(["x", "y"]).dictionary_encode(), "raw": pa.array([b"x", b"y"]), "day": pa.array([1, 2], pa.date32()),
        "money": pa.array([1, 2], pa.decimal128(10, 2)), "parts": pa.array([{"a": 1, "b": "x"}] * 2), "clock": pa.array([1, 2], pa.time64("us")),
        "words": pa.array([["x", None], []]), "numbers": pa.array([[1.0, None], None], pa.list_(pa.float32())),
        "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)), "wide": pa.array([[1.0], []], pa.large_list(pa.float64())),
        "nested": pa.array([[[1.0]], []], pa.list_(pa.list_(pa.float32()))), "milli": pa.array([1, 2], pa.timestamp("ms")),
        "zoned": pa.array([1, 2], pa.timestamp("us", "Asia/Shanghai")), "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    }  # fmt: skip
    file = shop.write("kinds", user_id=["u", "v"], event_timestamp=hours(0, 0), created_timestamp=hours(0, 0), **kinds)
    every = view("kinds", file, dict.fromkeys(kinds, Float32))
    labels = at(1, 1, 1, user=["v", "nobody", "u"]).assign(
        whole=[1, 2, 3], part=[1.0, np.nan, 3], ok=[True, False, True], lists=[["a"], None, ["b"]], kind=pd.Categorical(["a", "b", "a"]), n=range(3),
        small=np.array([1, 2, 3], np.float32), maybe=pd.array([1, None, 2], dtype="Int64"), when=[NOON] * 3,
    )  # fmt: skip
    ours, theirs = shop.read(every, labels), shop.read(every, labels, "duckdb").sort_by("n")
    assert {f.name: f.type for f in ours.schema} == {f.name: f.type for f in theirs.schema}
    assert ours.to_pylist() == theirs.to_pylist()


def test_views_of_several_entities_aliases_and_mapped_keys(shop: Shop) -> None:
    people = shop.write("people", user_id=["u", "v", "v"], event_timestamp=hours(0, 0, 2), created_timestamp=hours(0, 0, 2), age=[1.0, 2.0, 3.0])
    goods = shop.write("goods", product_id=[7, 8], event_timestamp=hours(0, 1), created_timestamp=hours(0, 1), price=[70.0, 80.0])
    pairs = shop.write(
        "pairs", user_id=["u", "v", "u"], product_id=[7, 7, 8], event_timestamp=hours(0, 0, 0), created_timestamp=hours(0, 0, 0), count=[1, 2, 3]
    )
    views = [
        view("people", people, {"age": Float64}),
        view("people", people, {"age": Float64}).with_name("sender").with_join_key_map({"user_id": "from_id"}),
        view("goods", goods, {"price": Float64}, (PRODUCT,)),
        view("pairs", pairs, {"count": Int64}, (USER, PRODUCT)),
    ]
    labels = pd.DataFrame(
        {
            "user_id": ["u", "v", "w", "v"],
            "from_id": ["v", "u", "v", None],
            "product_id": [8, 7, 7, 8],
            "event_timestamp": hours(1, 2, 3, 0).to_pandas(),
        }
    )
    found = shop.read(views, labels, full=True)
    assert found["people__age"].to_pylist() == [1, 3, None, 2]
    assert found["sender__age"].to_pylist() == [2, 1, 3, None]
    assert found["goods__price"].to_pylist() == [80, 70, 70, None]
    assert found["pairs__count"].to_pylist() == [3, 2, None, None]
    theirs = shop.read(views, labels.assign(n=range(4)), "duckdb", full=True).sort_by("n").drop_columns(["n"])
    assert found.to_pylist() == theirs.to_pylist() and found.schema.types == theirs.schema.types
    # Labels that pandas turned into floats because one key is missing.
    holey = labels.assign(product_id=[8, 7, None, 8])
    assert shop.read(views[2], holey)["price"].to_pylist() == [80, 70, None, None]


def test_on_demand_views_services_and_saved_datasets(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    prices = shop.write("prices", user_id=["u", "v"], event_timestamp=hours(0, 0), created_timestamp=hours(0, 0), price=[3.0, 4.0])
    priced = view("prices", prices, {"price": Float64})

    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"total": inputs["price"] * inputs["times"]})

    total = OnDemandFeatureView(
        name="totals",
        sources=[priced, RequestSource(name="asked", schema=[Field(name="times", dtype=Float64)])],
        schema=[Field(name="total", dtype=Float64)],
        udf=doubled,
        udf_string="def doubled(inputs):\n    import pandas as pd\n    return pd.DataFrame({'total': inputs['price'] * inputs['times']})\n",
        mode="pandas",
    )
    store = shop.store()
    store.apply([priced, total, FeatureService(name="sales", features=[priced, total])])
    labels = at(1, 1, 1, user=["v", "nobody", "u"]).assign(times=[2.0, 2.0, 10.0])
    job = store.get_historical_features(labels, store.get_feature_service("sales"))
    found = job.to_df()
    assert found["total"].fillna(-1).tolist() == [8, -1, 30] and found["price"].fillna(-1).tolist() == [4, -1, 3]
    naive = labels.assign(event_timestamp=labels["event_timestamp"].dt.tz_localize(None))
    pd.testing.assert_frame_equal(store.get_historical_features(naive, store.get_feature_service("sales")).to_df(), found)
    assert store.get_historical_features(labels, ["totals:total"], full_feature_names=True).to_df()["totals__total"].fillna(-1).tolist() == [
        8,
        -1,
        30,
    ]

    kept = store.create_saved_dataset(job, "sales", SavedDatasetFileStorage(str(tmp_path / "kept.parquet")))
    assert sorted(kept.to_df()["total"].dropna()) == [8, 30]
    assert set(store.get_saved_dataset("sales").to_df().columns) == {"user_id", "event_timestamp", "price", "total"}
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(SavedDatasetFileStorage(str(tmp_path / "kept.parquet")))
    job.persist(SavedDatasetFileStorage(str(tmp_path / "kept.parquet")), allow_overwrite=True)
    job.persist(SavedDatasetFileStorage(str(tmp_path / "folder")))
    assert pq.read_table(tmp_path / "folder").num_rows == 3
    with pytest.raises(FeatureRepoError, match="Parquet files alone"):
        job.persist(SavedDatasetFileStorage(str(tmp_path / "delta"), file_format=DeltaFormat()))

    # What is inherited: Feast's reads of a whole table and of the latest rows.
    ask = {"config": store.config, "data_source": priced.batch_source, "join_key_columns": ["user_id"], "feature_name_columns": ["price"]}
    ask |= {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}
    period = {"start_date": datetime(2024, 1, 1, tzinfo=UTC), "end_date": datetime(2025, 1, 1, tzinfo=UTC)}
    assert len(AsofOfflineStore.pull_all_from_table_or_query(**ask, **period).to_df()) == 2
    assert len(AsofOfflineStore.pull_latest_from_table_or_query(**ask, **period).to_df()) == 2


def test_what_is_refused_says_what_to_do(shop: Shop) -> None:
    file = shop.write("plain", user_id=["u"], event_timestamp=hours(0), created_timestamp=hours(0), value=[1.0])
    plain_view, store = view("plain", file, {"value": Float64}), shop.store()
    ask = (store.config, [plain_view], ["plain:value"])
    with pytest.raises(FeatureRepoError, match=r"came as SQL.*pandas frame.*Read the query"):
        AsofOfflineStore.get_historical_features(*ask, "select 1", store.registry, store.project)
    with pytest.raises(FeatureRepoError, match="range of dates"):
        AsofOfflineStore.get_historical_features(*ask, None, store.registry, store.project, start_date=datetime(2024, 1, 1, tzinfo=UTC))
    with pytest.raises(FeatureRepoError, match="'plain' is joined by 'user_id', which the labels don't have"):
        shop.read(plain_view, at(1).rename(columns={"user_id": "person"}))
    with pytest.raises(FeatureRepoError, match=r"named as a feature is \(value\)"):
        shop.read(plain_view, at(1).assign(value=1))
    with pytest.raises(FeatureRepoError, match="'plain' has no column other"):
        shop.read(view("plain", file, {"other": Float64}), at(1))
    with pytest.raises(FeatureRepoError, match=r"no Parquet file at .*gone\.parquet"):
        shop.read(view("gone", shop.folder / "gone.parquet", {"value": Float64}), at(1))
    with pytest.raises(FeatureRepoError, match="FileSource"):
        shop.read(view("delta", file, {"value": Float64}, source={"file_format": DeltaFormat()}), at(1))
    goods = shop.write("numbered", product_id=[7], event_timestamp=hours(0), created_timestamp=hours(0), value=[1.0])
    with pytest.raises(FeatureRepoError, match="'product_id' is string and cannot be the int64"):
        shop.read(view("numbered", goods, {"value": Float64}, (PRODUCT,)), at(1).assign(product_id="seven"))


def test_a_table_in_several_files_and_names_mapped_on_the_way(shop: Shop) -> None:
    folder = shop.folder / "parts"
    folder.mkdir()
    for number in range(3):
        shop.write(f"parts/{number}", who=["u", "v"], event_timestamp=hours(number, number), val=[number * 1.0, number * 10.0])
    labels = at(1, 5, user=["v", "u"])
    mapping = {"source": {"field_mapping": {"who": "user_id", "val": "value"}}}
    for path in (folder, folder / "*.parquet"):
        assert shop.read(view("parts", path, {"value": Float64}, created="", **mapping), labels)["value"].to_pylist() == [10, 2]


def test_a_view_without_an_entity_holds_for_all(shop: Shop) -> None:
    file = shop.write("shopwide", event_timestamp=hours(1, 2), created_timestamp=hours(1, 2), value=[1.0, 2.0])
    assert shop.read(view("shopwide", file, {"value": Float64}, ()), at(0, 1, 3, user=["u", "v", "w"]))["value"].to_pylist() == [None, 1, 2]


def test_a_large_answer_is_joined_in_slices_and_mapped_from_a_file(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asof_store, "SMALL", 100)
    random = np.random.default_rng(0)
    who, when = random.integers(0, 40, 3000), random.integers(0, 500, 3000)
    words = [[f"word {w}" for w in range(n)] for n in random.integers(0, 200, 3000)]
    file = shop.folder / "large.parquet"
    table = {
        "user_id": [f"u{n}" for n in who],
        "event_timestamp": hours(*when),
        "created_timestamp": hours(*when),
        "value": random.random(3000),
        "words": words,
    }
    pq.write_table(pa.table(table), file, row_group_size=700)
    large = view("large", file, {"value": Float64, "words": Array(String)})
    labels = at(*random.integers(0, 500, 5000).tolist(), user=[f"u{n}" for n in random.integers(0, 41, 5000)])
    whole = shop.read(large, labels, temporary_folder=str(tmp_path / "is never made"))
    sliced = shop.read(large, labels, memory_limit_mb=4, temporary_folder=str(tmp_path))
    assert whole["words"].num_chunks == 1 and sliced["words"].num_chunks > 3
    assert sliced.equals(whole)
    assert not list(tmp_path.iterdir())
    before = pa.total_allocated_bytes()
    mapped = shop.read(large, labels, memory_limit_mb=4)
    assert pa.total_allocated_bytes() - before < mapped.nbytes / 10
    with pytest.raises(FileNotFoundError):
        shop.read(large, labels, memory_limit_mb=4, temporary_folder=str(tmp_path / "nowhere"))


def test_times_too_far_apart_for_one_number_are_told_apart() -> None:
    """2^18 entities leave 45 bits, which is a year in microseconds: these labels span three thousand."""
    random = np.random.default_rng(0)
    names = pa.chunked_array([pa.array([f"u{n}" for n in range(1 << 18)] * 2)])
    time = np.concatenate([np.full(1 << 18, -(10**16)), random.integers(0, 50, 1 << 18) + 10**17 // 2])
    moments = Moments([names], time)
    known = random.integers(-5, 60, 5000) + 10**17 // 2
    who = random.integers(0, 1 << 18, 5000)
    rows, pairs = moments.first_after([names.take(pa.array(who))], known)
    seen = time[(1 << 18) + who] >= known
    assert seen.any() and not seen.all()
    assert sorted(rows) == np.flatnonzero(seen).tolist()
    np.testing.assert_array_equal(moments.at[pairs], time[(1 << 18) + who[rows]])


def test_plain_types_of_text() -> None:
    assert plain(pa.dictionary(pa.int32(), pa.large_string())) == pa.string()
    assert plain(pa.list_(pa.large_string())) == pa.list_(pa.string())
