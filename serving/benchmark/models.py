"""Fits the models of the synthetic shop on a sample of its users and registers them: what is packed and served is then a release like any.

All eight retrievers over all products, a ranker of 200 trees on all features, and a writer hardly trained, for no figure here is about copy. The
sample keeps it to minutes; at serving time only sizes count, and these are the shop's.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.home import ShopHome
from feature_repo.online import ProductMatrix, UserReader, UserRow, ranker_matrix
from feature_repo.store import Build, fingerprint
from feature_repo.vectors import RANKER_FEATURES
from serving.benchmark.shop import AS_OF, EMBEDDING_VERSION, Acts, Size, events, product_ids, shop_user
from training.content.train import Effort, WriterTraining, train_writer
from training.dataset import Catalogue, Rows
from training.profile import ProfileModel
from training.ranker import train as ranker_train
from training.ranker.blend import OTHERS, Blend
from training.ranker.model import Ranker
from training.registry import CHAMPION, ModelFolder, ModelMeta, RunFacts, log_and_register, promote
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.sequential import Sequential, SequentialParams
from training.retrieval.train import COUNTED, Fitter
from training.settings import TrainingSettings

Floats = NDArray[np.float32]

FITTED_ON = 40_000
"""Users whose acts the retrievers are fitted on."""
SEQUENCES, EPOCHS = 6_000, 1
"""Users and epochs of the transformer."""
GROUPS, HELD_BACK, NEGATIVES = 1_200, 3, 60
"""Users that the ranker learns from, the latest products of each that it is to find, and candidates kept beside them."""
TREES = 200
BLEND = Blend("sequential", weight=0.5, dislike=1.0, lifts={OTHERS: 0.05, "price:lower third": 0.02}, usual=0.05, usual_place=0.05)
"""Fixed, for no period is held out here that could choose one; all its parts cost something."""
WRITER = Effort(lines=300, steps=10, measured=8)


def fit(home: ShopHome, acts: Acts, size: Size, retrieved: int, candidates: int) -> None:
    """Fit, seal, register and promote."""
    settings = TrainingSettings(home=home.root.parent, shop=home.shop, seed=size.seed, threads=2)
    build = Build.current(home)
    matrix = ProductMatrix.load(build)
    retrievers = _retrievers(acts, size, matrix, settings)
    profile = ProfileModel()
    rows = _rows(home, acts, size, matrix, retrievers, profile, retrieved, candidates)
    meta = ModelMeta("ranker", "lambdamart", "ranker_v1", fingerprint("ranker_v1"))
    ranker = ranker_train.fit(rows, RANKER_FEATURES, meta, settings, TREES, BLEND)
    work = home.root / "models"
    sealed = _seal(work, retrievers, profile, ranker, _writer(home, work, settings), settings)
    _register(home, sealed, rows)


def _retrievers(acts: Acts, size: Size, matrix: ProductMatrix, settings: TrainingSettings) -> RetrieverSet:
    products, params = Catalogue.of(matrix).products(), Params()
    some = acts.user < FITTED_ON
    known = events(Acts(acts.user[some], acts.product[some], acts.at[some], acts.bought[some]), product_ids(size))
    fitter = Fitter.before(known, products, AS_OF, settings.seed)
    fitted = {name: fitter.fit(name, params) for name in COUNTED if name != "sequential"}
    few = Fitter.before(known[known["user_id"] < SEQUENCES], products, AS_OF, settings.seed)
    fitted["sequential"] = Sequential.fit(few.acts, products, SequentialParams(epochs=EPOCHS), settings.seed)
    return RetrieverSet(products, fitted, params, True, ProfileModel().weights.tolist(), EMBEDDING_VERSION)


def _rows(
    home: ShopHome, acts: Acts, size: Size, matrix: ProductMatrix, retrievers: RetrieverSet, profile: ProfileModel, retrieved: int, candidates: int
) -> Rows:
    """Users whom the retrievers have not seen, where there are enough: the latest products are taken out of the history, and to be found."""
    random, reader, now = np.random.default_rng(size.seed), UserReader(home), AS_OF.timestamp()
    pseudonyms = home.pseudonyms(TrainingSettings(home=home.root.parent, shop=home.shop))
    row_of = np.array([matrix.index[product] for product in retrievers.product_ids.tolist()], np.int32)
    parts: list[Floats] = []
    relevance: list[Floats] = []
    group: list[NDArray[np.int64]] = []
    for number in range(max(0, min(FITTED_ON, size.users - GROUPS)), size.users):
        user = reader.read(pseudonyms.user(shop_user(number)), now)
        if user is None or len(user.history.products) <= HELD_BACK:
            continue
        wanted, before = set(user.history.products[:HELD_BACK]), _without_latest(user)
        found = retrievers.retrieve(before.history, AS_OF, candidates, before.interests, before.circle, retrieved)
        right = np.array([product in wanted for product in retrievers.product_ids[found.index].tolist()])
        if not right.any():
            continue
        kept = np.sort(np.r_[np.flatnonzero(right), random.permutation(np.flatnonzero(~right))[:NEGATIVES]])
        parts.append(ranker_matrix(before, matrix, row_of[found.index[kept]], now, profile.weights, found.scores[kept], found.ranks[kept]))
        relevance.append(right[kept].astype(np.float32))
        group.append(np.full(len(kept), len(group)))
        if len(group) == GROUPS:
            break
    whole = np.concatenate(parts)
    return Rows(whole, np.concatenate(relevance), np.concatenate(group), np.full(len(whole), now))


def _without_latest(user: UserRow) -> UserRow:
    history = user.history
    arrays = (getattr(history, name)[HELD_BACK:] for name in ("purchases", "last_purchase_at", "last_view_at"))
    return replace(user, history=type(history)(history.products[HELD_BACK:], *arrays))


def _writer(home: ShopHome, work: Path, settings: TrainingSettings) -> WriterTraining:
    return train_writer(home, settings, work / "writer", progress=False, effort=WRITER)


def _seal(
    work: Path, retrievers: RetrieverSet, profile: ProfileModel, ranker: Ranker, writer: WriterTraining, settings: TrainingSettings
) -> dict[str, ModelFolder]:
    retrievers.save(work / "retriever")
    profile.save(work / "retriever")
    needs = {"embedding": EMBEDDING_VERSION}
    about = {service: fingerprint(service) for service in ("retriever_v1", "ranker_v1", "writer_v1")}
    meta = ModelMeta("retriever", "set-of-eight", "retriever_v1", about["retriever_v1"], requires=needs, seed=settings.seed)
    sealed = {"retriever": ModelFolder.write(work / "retriever", meta)}
    needs = needs | {"retriever": sealed["retriever"].version, "ranker_v1": about["ranker_v1"]}
    ranker.save(work / "ranker")
    meta = ModelMeta("ranker", "lambdamart", "ranker_v1", about["ranker_v1"], requires=needs, seed=settings.seed)
    sealed["ranker"] = ModelFolder.write(work / "ranker", meta)
    meta = ModelMeta("writer", "transformer", "writer_v1", about["writer_v1"], params=writer.params, seed=settings.seed)
    return sealed | {"writer": ModelFolder.write(writer.folder, meta)}


def _register(home: ShopHome, sealed: dict[str, ModelFolder], rows: Rows) -> None:
    samples = {
        "retriever": pd.DataFrame([{"product_ids": "[]", "last_purchase": "[]", "as_of": AS_OF.isoformat()}]),
        "ranker": pd.DataFrame(rows.matrix[:5], columns=list(RANKER_FEATURES)),
        "writer": pd.DataFrame([{"part": "title", "language": "en", "tone": "plain", "aspect": "design", "domain": "general", "slots": '["title"]'}]),
    }
    facts = RunFacts.collect("synthetic")
    for kind, folder in sealed.items():
        promote(home, log_and_register(home, folder, facts, samples[kind]), CHAMPION)
