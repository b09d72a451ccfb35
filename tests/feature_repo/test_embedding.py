"""Text embeddings: near for alike texts in any language, the same after saving, without pickle."""

from pathlib import Path

import numpy as np
import pytest

from feature_repo.declarations import EMBEDDING_SIZE
from feature_repo.embedding import TfidfSvd, load_embedder
from feature_repo.errors import FeatureRepoError

TEXTS = ["oak desk lamp", "oak floor lamp", "橡木台灯", "橡木落地灯", "wool blanket", "grey wool scarf", "羊毛毯子", "blue tea pot"]


def test_alike_texts_are_near_in_english_and_in_chinese() -> None:
    vectors = TfidfSvd.fit(TEXTS).embed(TEXTS)
    near = vectors @ vectors.T
    assert vectors.shape == (len(TEXTS), EMBEDDING_SIZE)
    assert near[0, 1] > near[0, 4]
    assert near[2, 3] > near[2, 6]


def test_it_is_the_same_after_saving_and_for_the_same_texts(tmp_path: Path) -> None:
    model = TfidfSvd.fit(TEXTS)
    model.save(tmp_path)
    again = load_embedder(tmp_path)
    assert again.version == model.version == TfidfSvd.fit(TEXTS).version
    np.testing.assert_array_equal(again.embed(["oak lamp", "???"]), model.embed(["oak lamp", "???"]))
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".npz"}


def test_without_a_word_vectors_are_zeros_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = TfidfSvd.fit(["", "?"])
    assert "Check the column 'title'" in caplog.text
    model.save(tmp_path)
    read = load_embedder(tmp_path)
    assert read.version == model.version
    vectors = read.embed(["some words", ""])
    assert vectors.shape == (2, EMBEDDING_SIZE) and not vectors.any()


def test_a_folder_without_an_embedding_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureRepoError, match="make features"):
        load_embedder(tmp_path)
    assert not TfidfSvd.fit(TEXTS).embed([]).size
    assert not TfidfSvd.fit(TEXTS).embed(["???"]).any()
