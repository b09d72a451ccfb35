"""Text embeddings of products, behind one interface. The built-in one works offline and in any language."""

import hashlib
import io
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer

from feature_repo.declarations import EMBEDDING_SIZE
from feature_repo.errors import FeatureRepoError

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

_WORD = re.compile(r"(?u)\b\w+\b")
_WORDS: dict[str, Any] = {"analyzer": "word", "ngram_range": (1, 2), "max_features": 8_000, "token_pattern": _WORD.pattern}
_CHARACTERS: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 4), "max_features": 12_000}
"""Characters carry languages written without spaces, and misspellings."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1 (or of zeros, for a text without a known part)."""

    @property
    def version(self) -> str:
        """Content hash: the same for the same numbers."""
        ...

    def embed(self, texts: Sequence[str]) -> Floats:
        """float32[len(texts), EMBEDDING_SIZE]"""
        ...

    def save(self, folder: Path) -> None:
        """Write it without pickle; `load_embedder` reads it."""
        ...


class TfidfSvd:
    """TF-IDF over words and character n-grams, then truncated SVD (latent semantic analysis, Deerwester et al. 1990). Deterministic."""

    def __init__(self, words: list[str], characters: list[str], idf: Floats, components: Floats) -> None:
        self.words, self.characters = words, characters
        self.idf = idf  # float32[V]
        self.components = components  # float32[EMBEDDING_SIZE, V]; rows of zeros where the texts span fewer dimensions
        self._counters = (
            CountVectorizer(vocabulary={term: n for n, term in enumerate(words)}, **_without_limit(_WORDS)),
            CountVectorizer(vocabulary={term: n for n, term in enumerate(characters)}, **_without_limit(_CHARACTERS)),
        )

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int = 0) -> "TfidfSvd":
        """Learn from texts. Where not one has a word in it, all vectors are zeros, and the log says so."""
        counters = [CountVectorizer(**options) for options in (_WORDS, _CHARACTERS)]
        if not any(_WORD.search(text) for text in texts):
            log.warning("No product has a word in its title, category or brand: their text tells nothing. Check the column 'title'.")
            return cls([], [], np.zeros(0, np.float32), np.zeros((EMBEDDING_SIZE, 0), np.float32))
        counts = csr_matrix(hstack([counter.fit_transform(texts) for counter in counters]))
        words, characters = ([str(term) for term in counter.get_feature_names_out()] for counter in counters)
        present = np.asarray((counts > 0).sum(axis=0)).ravel()
        idf = (np.log((1 + len(texts)) / (1 + present)) + 1).astype(np.float32)
        model = cls(words, characters, idf, np.zeros((EMBEDDING_SIZE, len(idf)), np.float32))
        size = min(EMBEDDING_SIZE, counts.shape[1] - 1, len(texts))
        if size > 0:
            svd = TruncatedSVD(size, n_iter=4, random_state=seed).fit(model._weighted(counts))
            model.components[:size] = svd.components_
        return model

    @property
    def version(self) -> str:
        found = hashlib.sha256(json.dumps([self.words, self.characters]).encode())
        found.update(self.idf.tobytes())
        found.update(self.components.tobytes())
        return "tfidf-svd-" + found.hexdigest()[:12]

    def embed(self, texts: Sequence[str]) -> Floats:
        if not len(texts) or not self.words:
            return np.zeros((len(texts), EMBEDDING_SIZE), np.float32)
        counts = csr_matrix(hstack([counter.transform(texts) for counter in self._counters]))
        return _unit(np.asarray(self._weighted(counts) @ self.components.T, np.float32))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        written = {"kind": "tfidf-svd", "words": self.words, "characters": self.characters}
        (folder / "embedding.json").write_text(json.dumps(written, ensure_ascii=False))
        held = io.BytesIO()
        np.savez(held, idf=self.idf, components=self.components)
        (folder / "embedding.npz").write_bytes(held.getvalue())

    def _weighted(self, counts: csr_matrix) -> csr_matrix:
        """Sublinear TF x IDF, rows of length 1."""
        found = counts.astype(np.float32)
        found.data = (1 + np.log(found.data)) * self.idf[found.indices]
        lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
        found.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(found.indptr)).astype(np.float32)
        return found


class SentenceTransformers:
    """A sentence-transformers checkpoint (name or folder), its vectors brought to EMBEDDING_SIZE by a fixed random projection.

    The projection keeps cosines up to a small error (Johnson-Lindenstrauss); it is not applied where the sizes agree.
    """

    def __init__(self, checkpoint: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as missing:
            raise FeatureRepoError("sentence-transformers is not installed: `pip install 'storyshelf[sentence-transformers]'`.") from missing
        self.checkpoint = checkpoint
        self._model = SentenceTransformer(checkpoint, device="cpu")

    @property
    def version(self) -> str:
        probe = self.embed(["storyshelf", "书架"])
        return "sentence-" + hashlib.sha256(self.checkpoint.encode() + np.round(probe, 4).tobytes()).hexdigest()[:12]

    def embed(self, texts: Sequence[str]) -> Floats:
        if not len(texts):
            return np.zeros((0, EMBEDDING_SIZE), np.float32)
        found = np.asarray(self._model.encode(list(texts), show_progress_bar=False), np.float32)
        if found.shape[1] != EMBEDDING_SIZE:
            projection = np.random.default_rng(0).standard_normal((found.shape[1], EMBEDDING_SIZE)).astype(np.float32)
            found = found @ projection
        return _unit(found)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "embedding.json").write_text(json.dumps({"kind": "sentence-transformers", "checkpoint": self.checkpoint}))


def load_embedder(folder: Path) -> Embedder:
    """What `save` wrote.

    Raises:
        FeatureRepoError: there is none, or of a kind unknown here.
    """
    file = folder / "embedding.json"
    if not file.exists():
        raise FeatureRepoError(f"No embedding in {folder}: run `make features` first.")
    written = json.loads(file.read_text())
    if written["kind"] == "sentence-transformers":
        return SentenceTransformers(written["checkpoint"])
    if written["kind"] != "tfidf-svd":
        raise FeatureRepoError(f"Embedding of kind '{written['kind']}' in {folder} is not known to this version: update Storyshelf.")
    with np.load(folder / "embedding.npz", allow_pickle=False) as numbers:
        return TfidfSvd(written["words"], written["characters"], numbers["idf"], numbers["components"])


def _without_limit(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "max_features"}


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
