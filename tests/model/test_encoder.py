"""`Encoder`: any mixture of items in, unit vectors in the same order out; a saved folder gives the same vectors."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.some_items import records

from moon2 import Encoder, Product, Query
from moon2.model.errors import EncoderError
from moon2.model.items import Item


@pytest.fixture
def products(image: Callable[..., Image.Image]) -> list[Product]:
    """One product of each kind: text, image, both."""
    return [
        Product("words", "red women shoes"),
        Product("photo", images=[image("teal", (48, 32))]),
        Product("both", "navy men casual shirt", images=[image("navy"), image("white", (32, 48))]),
    ]


def test_loading_gives_the_same_vectors_bit_for_bit(
    encoder: Encoder, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    encoder.save_pretrained(tmp_path / "model")
    loaded = Encoder.from_pretrained(tmp_path / "model", device="cpu")
    assert np.array_equal(loaded.encode(records(image)), encoder.encode(records(image)))
    assert np.array_equal(
        Encoder.from_pretrained(tmp_path, device="cpu").encode(["navy shirt"]), encoder.encode(["navy shirt"])
    )


def test_bfloat16_and_settings_survive_saving(
    new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    encoder = new_encoder(
        "qwen3_vl", "bfloat16", {"count": 3, "active": 1, "layers": [1]}, max_text_tokens=7, max_pixels=2048
    )
    encoder.save_pretrained(tmp_path)
    loaded = Encoder.from_pretrained(tmp_path, device="cpu")
    assert (loaded.model.settings, loaded.processor.settings) == (encoder.model.settings, encoder.processor.settings)
    some = [image("navy", (128, 128)), "navy men casual shirt with a zip"]
    assert np.array_equal(loaded.encode(some), encoder.encode(some))


def test_the_saved_folder_holds_no_pickle(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json", "README.md"} <= names
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".md", ".txt", ".jinja"}


def test_mixtures_keep_their_order(encoder: Encoder, image: Callable[..., Image.Image], tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    image("red", (64, 32)).save(path)
    some = [*records(image), path, "navy", Query("q2", "a bag")]
    together = encoder.encode(some, batch_size=3)
    one_by_one = np.concatenate([encoder.encode([record]) for record in some])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-5)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)


def test_one_item_gives_one_row(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    for record in ("navy shirt", image("navy"), Product("1", "navy shirt")):
        assert np.array_equal(encoder.encode(record), encoder.encode([record]))
        assert encoder.encode(record).shape == (1, encoder.dimension)


def test_an_image_may_come_in_any_form(encoder: Encoder, image: Callable[..., Image.Image], tmp_path: Path) -> None:
    navy = image("navy")
    navy.save(tmp_path / "navy.png")
    encoded = (tmp_path / "navy.png").read_bytes()
    array = np.asarray(navy)
    sources = [
        tmp_path / "navy.png",
        encoded,
        io.BytesIO(encoded),
        array,
        array / 255,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        "data:image/png;base64," + base64.b64encode(encoded).decode(),
        {"image": navy},
        {"image": [str(tmp_path / "navy.png")]},
    ]
    for form in sources:
        assert np.array_equal(encoder.encode(form), encoder.encode(navy))
    both = encoder.encode({"text": "navy shirt", "image": navy})
    assert np.array_equal(both, encoder.encode(Product("1", "navy shirt", images=[navy])))


def test_what_is_neither_text_nor_image_is_refused_by_name(encoder: Encoder) -> None:
    for source, message in [
        (3, "cannot embed a int"),
        ([None], "item 0: cannot embed a NoneType"),
        ([{"text": "navy", "photo": "a.jpg"}], "item 0: cannot embed a dictionary with 'photo'"),
        (np.zeros((4, 32, 32, 3), np.uint8), r"an array of shape \(4, 32, 32, 3\) is no image"),
    ]:
        with pytest.raises(EncoderError, match=message):
            encoder.encode(source)


def test_the_names_of_sentence_transformers_give_the_same_vectors(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    some = records(image)
    queries, documents = encoder.encode_query(some), encoder.encode_document(some)
    assert np.array_equal(queries, encoder.encode(some)) and np.array_equal(documents, queries)
    similarity = encoder.similarity(queries[:2], documents)
    assert similarity.shape == (2, len(some)) and similarity.dtype == np.float32
    np.testing.assert_allclose(similarity, queries[:2] @ documents.T, rtol=0, atol=0)
    assert encoder.similarity(queries[0], documents[0]).shape == (1, 1)


def test_threads_that_encode_at_once_get_the_vectors_of_one(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    """Bit for bit: four threads, each with other batches of text, images and both."""
    mixed = records(image)
    longer = [Product("3", "navy men casual shirt " * 6, images=[image("grey", (96, 64))] * 2), *mixed[:3]]
    work = [
        ["navy shirt", "red women shoes", "<|image_pad|> bag"],
        [image("teal", (48, 32)), image("red")],
        mixed,
        longer,
    ]
    expected = [encoder.encode(items) for items in work]

    def encode(number: int) -> bool:
        return all(np.array_equal(encoder.encode(work[number]), expected[number]) for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode, range(4))) == [True] * 4


def test_nothing_gives_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert {view: vectors.shape for view, vectors in encoder.encode_views([]).items()} == {
        view: (0, encoder.dimension) for view in ("t", "i", "mm")
    }


def test_views_at_once_are_the_views_one_by_one(encoder: Encoder, products: list[Product]) -> None:
    found = encoder.encode_views(products)
    has = {"t": [0, 2], "i": [1, 2], "mm": [0, 1, 2]}
    for view, rows in has.items():
        np.testing.assert_allclose(
            found[view][rows], encoder.encode([products[row] for row in rows], view=view), rtol=0, atol=1e-5
        )
        assert np.isnan(found[view][[row for row in range(3) if row not in rows]]).all()
    np.testing.assert_array_equal(found["mm"][0], found["t"][0])


def test_vectors_can_be_cut_to_a_length(encoder: Encoder, products: list[Product]) -> None:
    """They are the first numbers of the whole vectors, at unit length again, whatever the name of the method."""
    whole = encoder.encode(products)
    cut = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    for method in (encoder.encode, encoder.encode_query, encoder.encode_document):
        np.testing.assert_allclose(method(products, dimension=5), cut, rtol=0, atol=1e-6)
    views = encoder.encode_views(products, dimension=5)
    np.testing.assert_allclose(views["mm"], cut, rtol=0, atol=1e-6)
    assert np.isnan(views["i"][0]).all() and views["i"].shape == (3, 5)
    assert np.array_equal(encoder.encode(products, dimension=encoder.dimension), whole)


@pytest.mark.parametrize("dimension", [0, -1, 33])
def test_a_length_that_vectors_do_not_have_is_refused(dimension: int, small_encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match=f"dimension is {dimension}; it must be 1 to 32"):
        small_encoder.encode("navy", dimension=dimension)


def test_a_length_that_was_not_trained_is_warned_of_once(
    new_encoder: Callable[..., Encoder], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    encoder = new_encoder("tiny")
    encoder.dimensions = [8, 32]
    encoder.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path, device="cpu")
    for dimension in (8, 32, None, 5, 5):
        encoder.encode("navy", dimension=dimension)
    (warning,) = caplog.messages
    assert "vectors cut to 5" in warning and "[8, 32]" in warning


def test_a_bad_item_is_named(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match=r"^item 1: product '17': image 1: cannot be read as an image") as caught:
        encoder.encode(["navy", Product("17", images=[b"broken"])])
    assert "skip_bad" in str(caught.value) and "\n" not in str(caught.value)


def test_skipped_items_give_rows_of_nan(encoder: Encoder, caplog: pytest.LogCaptureFixture) -> None:
    some = ["navy", Product("17", images=[b"broken"]), "red women shoes", "", 3]
    vectors = encoder.encode(some, skip_bad=True)
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False, True, True]
    np.testing.assert_allclose(vectors[[0, 2]], encoder.encode([some[0], some[2]]), rtol=0, atol=1e-5)
    assert "product '17'" in caplog.text


def test_a_view_that_an_item_lacks_is_an_error(encoder: Encoder, products: list[Product]) -> None:
    with pytest.raises(EncoderError, match="item 0: it has no image, and view 'i' was asked for"):
        encoder.encode(products, view="i")
    with pytest.raises(EncoderError, match="item 1: it has no text, and view 't' was asked for"):
        encoder.encode(products, view="t")
    with pytest.raises(EncoderError, match="item 0: it has no image, and view 'i' was asked for"):
        encoder.encode(Item("red shoes"), view="i")
    with pytest.raises(EncoderError, match="view is 'text'; it must be one of t, i, mm"):
        encoder.encode(products, view="text")


def test_a_folder_without_an_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="holds no encoder"):
        Encoder.from_pretrained(tmp_path)


def test_another_kind_of_model_is_named(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(EncoderError, match="holds a model of type 'qwen3_vl', not a moon2 encoder"):
        Encoder.from_pretrained(checkpoints["qwen3_vl"])


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_damaged_folder_is_an_error_of_one_line(
    damage: str, new_encoder: Callable[..., Encoder], tmp_path: Path
) -> None:
    new_encoder("tiny").save_pretrained(tmp_path)
    file = tmp_path / damage
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(EncoderError) as caught:
        Encoder.from_pretrained(tmp_path, device="cpu")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["dtype", "mixed_precision"])
def test_a_config_that_lacks_a_key_is_an_error_of_one_line(
    key: str, new_encoder: Callable[..., Encoder], tmp_path: Path
) -> None:
    new_encoder("tiny").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({name: value for name, value in config.items() if name != key}))
    with pytest.raises(EncoderError, match=rf"incomplete or damaged \('{key}'\)"):
        Encoder.from_pretrained(tmp_path, device="cpu")
