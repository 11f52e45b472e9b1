"""An index: built of vectors, searched by words, photo and both, changed, and opened again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.drawn_shop import png

from moon2 import Encoder, Product
from moon2.catalog.store import Catalog, write_catalog
from moon2.search.build import drawn_vectors
from moon2.search.commands import build_index
from moon2.search.errors import ProductIndexError
from moon2.search.index import Index
from moon2.search.info import FORMAT, IndexInfo
from moon2.search.product_table import ProductTable
from moon2.search.recall import QUERIES
from moon2.search.rows import RowMaker
from moon2.search.versions import put_in_use, tables_of
from moon2.vectors.embed_catalog import embed
from moon2.vectors.fusion import CANDIDATES, DEFAULT_WEIGHT, Fusion, fuse, scale_of
from moon2.vectors.lexical import LexicalIndex, Scored, best
from moon2.vectors.product_texts import product_texts
from moon2.vectors.vector_folder import VectorFolder, What


@pytest.fixture(scope="module")
def vectors(small_encoder_folder: Path, generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors") / "shop"
    embed(str(small_encoder_folder), data=generated_shop.folder, out=out, per_image=True)
    return out


@pytest.fixture(scope="module")
def built(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(build_index(vectors, out=str(tmp_path_factory.mktemp("indexes") / "shop")).place)


@pytest.fixture
def index(vectors: Path, tmp_path: Path) -> Index:
    """One that a test may change."""
    return build_index(vectors, out=str(tmp_path / "index"))


def test_a_photo_finds_what_comparing_with_all_products_and_their_images_finds(
    built: Path, generated_shop: Catalog
) -> None:
    index = Index.open(built)
    products = list(generated_shop.products())
    photo = products[5].images[0]
    query = index.encode(image=photo)
    best: list[tuple[float, int, int | None]] = []
    for row, product in enumerate(products):
        alone = [Product("one", images=(image,)) for image in product.images]
        cosines = (index.encoder.encode([product, *alone]) @ query).tolist()
        nearest = int(np.argmax(cosines))
        best.append((-cosines[nearest], row, nearest - 1 if nearest else None))
    best = sorted(best)[:5]
    hits = index.search(image=photo, limit=5)
    assert [(hit.id, hit.image) for hit in hits] == [(products[row].id, image) for _, row, image in best]
    assert [hit.cosine for hit in hits] == pytest.approx([-cosine for cosine, _, _ in best], abs=1e-5)
    assert [hit.vector_rank for hit in hits] == [1, 2, 3, 4, 5]
    assert all(hit.word_rank is None for hit in hits)
    assert hits[0].id == products[5].id and hits[0].image == 0


def test_words_count_in_the_hybrid_and_both_ranks_are_told(built: Path, generated_shop: Catalog) -> None:
    index = Index.open(built)
    title = next(generated_shop.products()).title
    word = title.split()[0]
    hits = index.search(word, limit=len(index))
    assert len(hits) == len(index)  # whoever lacks the word is found by vector
    has_word = {hit.id for hit in hits if hit.word_rank}
    assert has_word == {p.id for p in generated_shop.products() if word in f"{p.title} {p.description} {p.attributes}"}
    by_vector = sorted(hits, key=lambda hit: hit.vector_rank or 0)
    assert [hit.cosine for hit in by_vector] == sorted((hit.cosine for hit in hits), reverse=True)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.word_rank is None for hit in index.search(word, hybrid=False))


def test_an_exact_id_or_title_comes_first(built: Path, generated_shop: Catalog) -> None:
    index = Index.open(built)
    product = list(generated_shop.products())[16]
    assert (index.search(f" {product.id.upper()} ")[0].id, index.search(product.id)[0].exact) == (product.id, "id")
    first = index.search(product.title.upper())[0]
    assert (first.title, first.exact) == (product.title, "title")


def test_a_filter_holds_for_vectors_words_and_exact_titles(built: Path, generated_shop: Catalog) -> None:
    index = Index.open(built)
    product = list(generated_shop.products())[3]
    where = f"price > {product.price}"
    assert product.id not in {hit.id for hit in index.search(product.title, where=where, limit=100)}
    hits = index.search(product.title, where=f"id = '{product.id}'")
    assert [hit.id for hit in hits] == [product.id]


def test_like_leaves_the_product_itself_out(built: Path, generated_shop: Catalog) -> None:
    ids = generated_shop.ids()
    hits = Index.open(built).search(like=ids[0], limit=len(ids))
    assert sorted(hit.id for hit in hits) == sorted(ids[1:])


@pytest.mark.parametrize("where", [None, "price > 40"])
def test_pages_put_together_are_the_long_list(built: Path, generated_shop: Catalog, where: str | None) -> None:
    index = Index.open(built)
    photo = next(product for product in generated_shop.products() if product.images).images[0]
    for asked in (
        {"text": "navy shirt"},
        {"text": "navy shirt", "hybrid": False},
        {"image": photo},
        {"text": "in red", "image": photo},
        {"like": generated_shop.ids()[2]},
    ):
        whole = index.search(**asked, where=where, limit=1000)
        pages = [index.search(**asked, where=where, limit=7, offset=offset) for offset in range(0, len(whole) + 7, 7)]
        assert len(whole) > 20 and not pages[-1]
        assert [hit for page in pages for hit in page] == whole, asked


def test_an_image_that_could_not_be_read_makes_a_product_no_other(
    small_encoder_folder: Path, generated_shop: Catalog, tmp_path: Path
) -> None:
    good = next(product for product in generated_shop.products() if product.images).images[0]
    product = Product("a", "navy shirt", images=(good, "https://shop.example/a.jpg"))
    catalog = write_catalog(tmp_path / "shop", {"train": [product]}, title="Shop")
    embed(str(small_encoder_folder), data=catalog.folder, out=tmp_path / "vectors")
    index = build_index(tmp_path / "vectors", out=str(tmp_path / "index"))
    assert index.holds(catalog.product("a"))
    assert not index.holds(replace(catalog.product("a"), title="red shirt"))


def test_changes_are_there_at_once_and_after_opening_again(index: Index, generated_shop: Catalog) -> None:
    first, second, *_ = generated_shop.products()
    dearer = Product(first.id, first.title, first.description, first.category, first.attributes, first.images, 9999.0)
    new = Product("new", title="Ultramarine gramophone")
    changes = index.upsert([dearer, second, new, Product("broken", images=(b"no image",))])
    assert (changes.written, changes.unchanged, changes.refused) == (2, 1, 1)
    assert list(changes.problems) == ["broken"]
    for opened in (index, Index.open(index.place)):
        assert len(opened) == len(generated_shop) + 1
        assert opened.search("gramophone", limit=1)[0].id == "new"
        assert [hit.id for hit in opened.search(first.title, where="price = 9999")] == [first.id]
    assert index.delete(["new", "never"]).problems == {"never": "there is no such product"}
    assert len(Index.open(index.place)) == len(generated_shop)
    index.optimize()
    assert index.table.unindexed_rows() == 0


def test_words_count_in_an_index_that_was_begun_with_one_product(
    small_encoder_folder: Path, generated_shop: Catalog, tmp_path: Path
) -> None:
    first, *others = generated_shop.products()
    one = write_catalog(tmp_path / "one", {"train": [first]}, title="One")
    embed(str(small_encoder_folder), data=one.folder, out=tmp_path / "vectors")
    index = build_index(tmp_path / "vectors", out=str(tmp_path / "index"))
    index.upsert([*others, Product("new", title="Ultramarine gramophone")])
    assert index.search("the gramophone", limit=1)[0].id == "new"
    index.optimize()
    fusion = Index.open(index.place).info.fusions["t"]
    drawn = index.table.sample_vectors(QUERIES)
    assert fusion == Fusion(*scale_of(drawn, drawn), DEFAULT_WEIGHT)
    assert index.search("the gramophone", limit=1)[0].id == "new"


def test_words_written_are_known_without_reading_all_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.upsert([Product("de-1", "Garten"), Product("de-2", "Stuhl")])
    index.upsert([Product("de-3", "Gartenstuhl")])
    found = {hit.id for hit in index.search("stuhl", limit=5) if hit.word_rank}
    assert found == {"de-2", "de-3"}
    assert index.known_words() == Index.open(index.place).known_words()
    index.delete(["de-3"])
    for opened in (index, index.reopened()):
        monkeypatch.setattr(opened.table, "scan", None)
        assert {"garten", "stuhl", "gartenstuhl"} <= opened.known_words()


def test_words_that_all_candidates_have_leave_nothing_to_look_up(
    built: Path, generated_shop: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.open(built)
    every = " ".join({product.title.split()[0] for product in generated_shop.products() if product.title})
    found = index.search(every, limit=len(index))
    monkeypatch.setattr("moon2.search.ranking.CANDIDATES", len(index))
    assert [hit.id for hit in index.search(every, limit=len(index))] == [hit.id for hit in found]


def test_a_product_that_could_not_be_embedded_takes_nothing_from_those_after_it(
    small_encoder_folder: Path, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    photos = [png(image(colour)) for colour in ("red", "navy", "green", "black")]
    whole = [Product(f"p{n}", f"shirt {n}", images=(photos[n], photos[n - 1])) for n in range(4)]
    products = [whole[0], Product("p1", images=(b"no image", photos[1])), *whole[2:]]
    write_catalog(tmp_path / "data", {"train": products}, title="shop")
    embed(str(small_encoder_folder), data=tmp_path / "data", out=tmp_path / "v", per_image=True)
    table = build_index(tmp_path / "v", out=str(tmp_path / "index")).table
    vectors = table.all_vectors([product.id for product in products])
    assert {id: sorted(of) for id, of in vectors.items()} == {id: [-1, 0, 1] for id in ("p0", "p2", "p3")}


def test_an_image_more_than_the_encoder_reads_counts_too(
    small_encoder_folder: Path, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    product = Product("p", "shirt", images=[png(image(colour)) for colour in ("red", "navy", "green", "black")])
    write_catalog(tmp_path / "data", {"train": [product]}, title="shop")
    embed(str(small_encoder_folder), data=tmp_path / "data", out=tmp_path / "v", what="products")
    index = build_index(tmp_path / "v", out=str(tmp_path / "index"))
    assert index.upsert([product]).unchanged == 1
    assert index.upsert([replace(product, images=[*product.images, png(image("white"))])]).written == 1
    assert [hit.id for hit in index.search("shirt", where="images = 5")] == ["p"]


def test_changed_products_are_rounded_like_the_vectors_of_the_index(
    small_encoder_folder: Path, generated_shop: Catalog, tmp_path: Path
) -> None:
    embed(str(small_encoder_folder), data=generated_shop.folder, out=tmp_path / "v", what="products", storage="binary")
    index = build_index(tmp_path / "v", out=str(tmp_path / "index"))
    product = next(generated_shop.products())
    index.upsert([replace(product, id="copy")])
    of = index.table.all_vectors([product.id, "copy"])
    assert of["copy"][-1] == pytest.approx(of[product.id][-1], abs=1e-6)


def test_on_object_storage_an_index_is_replaced_as_a_whole_and_only_when_asked(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"file://{tmp_path}/shop"
    with pytest.raises(ProductIndexError, match="there is no such index"):
        Index.open(place)
    first = build_index(vectors, out=place)
    with pytest.raises(ProductIndexError, match="holds an index already; add --overwrite"):
        build_index(vectors, out=place)
    with monkeypatch.context() as patched:
        patched.setattr(IndexInfo, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_index(vectors, out=place, overwrite=True)
    assert Index.open(place).table.place == first.table.place
    for _ in range(2):
        build_index(vectors, out=place, overwrite=True)
    assert len(Index.open(place)) == 80
    kept = [folder.name for folder in (tmp_path / "shop").iterdir() if any(folder.glob("*.lance"))]
    assert len(kept) == 2, "the version in use, and the one before for those who have it open"


def test_another_encoder_is_refused(built: Path, tmp_path: Path, small_encoder: Encoder) -> None:
    folder = tmp_path / "other"
    small_encoder.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "note": "retrained"}))
    with pytest.raises(ProductIndexError, match=r"is not the encoder that .* was made with .* --model"):
        Index.open(built, model=folder).search("shirt")


def test_an_index_that_is_built_anew_twice_while_it_is_opened_opens(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = tables_of(str(built))
    pointers = iter([f"{now}-removed", now, now])  # what the pointer says, each time it is read
    monkeypatch.setattr("moon2.search.index.tables_of", lambda _: next(pointers))
    assert len(Index.open(built)) > 0
    with pytest.raises(ProductIndexError, match="holds no index, or not a whole one"):
        monkeypatch.setattr("moon2.search.index.tables_of", lambda _: f"{now}-removed")
        Index.open(built)


def test_bad_requests_are_one_line(built: Path, vectors: Path, tmp_path: Path) -> None:
    index = Index.open(built)
    for options in (
        {"limit": 0, "text": "a"},
        {"offset": -1, "text": "a"},
        {"offset": 1001, "text": "a"},
        {"text": " "},
        {"like": "no such"},
        {"like": "a", "text": "b"},
        {"where": "prise < 3"},
    ):
        with pytest.raises(ProductIndexError):
            index.search(**{"text": "" if "like" in options else "a", **options})
    with pytest.raises(ProductIndexError, match="holds an index already"):
        build_index(vectors, out=str(built))
    with pytest.raises(ProductIndexError, match="--thumbnails is -1; it must be 0 or more"):
        build_index(vectors, out=str(built), thumbnails=-1)
    with pytest.raises(ProductIndexError, match="there is no such index"):
        Index.open(tmp_path / "none")
    (tmp_path / "damaged").mkdir()
    for pointer in ("{", "[]", '{"current": 3}'):
        (tmp_path / "damaged" / "index.json").write_text(pointer)
        with pytest.raises(ProductIndexError, match="there is no such index"):
            Index.open(tmp_path / "damaged")
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "else.txt").write_text("kept")
    with pytest.raises(ProductIndexError, match="something else"):
        build_index(vectors, out=str(tmp_path / "something"), overwrite=True)
    (tmp_path / "something" / "db" / "vectors.lance").mkdir(parents=True)
    with pytest.raises(ProductIndexError, match="something else"):
        build_index(vectors, out=str(tmp_path / "something"), overwrite=True)
    (tmp_path / "something" / "index.json").write_text('{"pages": [1, 2]}')  # of a web site, say
    with pytest.raises(ProductIndexError, match="something else"):
        build_index(vectors, out=str(tmp_path / "something"), overwrite=True)
    assert (tmp_path / "something" / "else.txt").read_text() == "kept"


def test_the_queries_that_scale_it_are_drawn_from_the_whole_table(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moon2.search.build.SAMPLE", 5)
    folder = VectorFolder.open(vectors)
    what: What = "queries" if folder.count("queries") else "products"
    ids, everything = folder.matrix(what, "t")
    drawn = drawn_vectors(folder, what, "t")
    rows = [int(np.flatnonzero((everything == vector).all(axis=1))[0]) for vector in drawn]
    assert len(set(rows)) == 5 and max(rows) > 5
    monkeypatch.setattr("moon2.search.build.SAMPLE", len(ids) + 1)
    assert sorted(map(tuple, drawn_vectors(folder, what, "t"))) == sorted(map(tuple, everything))


def test_an_index_whose_own_description_is_damaged_is_one_line(tmp_path: Path) -> None:
    put_in_use(made_tables(tmp_path / "building" / "one"), tmp_path / "index")
    about = tmp_path / "index" / "one" / "about.lance"
    whole = {file: file.read_bytes() for file in about.rglob("*") if file.is_file()}
    for part in ("data/*", "_versions/*"):
        for file in about.glob(part):
            file.write_bytes(whole[file][:20])
        with pytest.raises(ProductIndexError, match=r"holds no index, or not a whole one .* make one with") as error:
            Index.open(tmp_path / "index")
        assert "\n" not in str(error.value) and ".rs" not in str(error.value)
        for file in about.glob(part):
            file.write_bytes(whole[file])
    for text, message in (
        ("[]", "not a whole one"),
        (json.dumps({"format": FORMAT}), "not a whole"),
        ('{"format": 9}', "another moon2"),
    ):
        lancedb.connect(about.parent).create_table("about", pa.table({"json": [text]}), mode="overwrite")
        with pytest.raises(ProductIndexError, match=message):
            Index.open(tmp_path / "index")


def made_tables(folder: Path) -> Path:
    """The tables of a version without a product."""
    maker = RowMaker(dimension=4, attributes={}, thumbnails=0)
    ProductTable.create(str(folder), maker.schema, [])
    lancedb.connect(folder).create_table("about", pa.table({"json": ["{}"]}))
    return folder


def test_vectors_of_another_catalog_or_of_texts_alone_are_refused(
    vectors: Path, small_encoder_folder: Path, tmp_path: Path
) -> None:
    """Also a catalog of the same ids whose products have changed: its vectors would be those of the old ones."""
    other = write_catalog(tmp_path / "other", {"train": [Product("x", title="X")]}, title="other")
    with pytest.raises(ProductIndexError, match=r"is not as it was when .* was made; run `moon2 embed` again"):
        build_index(vectors, out=str(tmp_path / "index"), data=other.folder)
    embed(str(small_encoder_folder), data=other.folder, out=tmp_path / "texts", what="products", views=("t",))
    with pytest.raises(ProductIndexError, match=r"has no vectors of whole products; run .* --views"):
        build_index(tmp_path / "texts", out=str(tmp_path / "index"))
    assert not (tmp_path / "index").exists()


def test_a_product_of_many_images_takes_no_place_of_others(
    small_encoder_folder: Path, tmp_path: Path, image: Callable[..., Image.Image]
) -> None:
    """Also where it got them after the index was built."""
    products = [Product(str(i), title=f"Chair {i}", images=(image("red", (32, 32 + 2 * i)),)) for i in range(6)]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, title="shop")
    embed(str(small_encoder_folder), data=catalog.folder, out=tmp_path / "vectors", what="products", per_image=True)
    index = Index.open(build_index(tmp_path / "vectors", out=str(tmp_path / "index")).place)
    many = Product("0", title="Chair 0", images=[image("red", (32, 34 + i)) for i in range(30)])
    assert index.upsert([many]).written == 1
    assert sorted(hit.id for hit in index.search(image=image("red", (32, 40)), limit=6)) == list("012345")


def test_the_hybrid_of_evaluate_and_of_an_index_are_one(
    small_encoder_folder: Path, generated_shop: Catalog, tmp_path: Path
) -> None:
    """The same products in the same order, with the same scores and ranks."""
    embed(str(small_encoder_folder), data=generated_shop.folder, out=tmp_path / "vectors", what="products")
    index = build_index(tmp_path / "vectors", out=str(tmp_path / "index"), thumbnails=0)
    products = list(generated_shop.products())
    vectors = index.encoder.encode(products)
    words = LexicalIndex.build(product_texts(generated_shop, "all"))
    for text in ("navy shirt", products[3].title, "red red lamp", "p00007", "shirtdress", "nothing of this"):
        query = index.encode(text)
        cosines = vectors @ query
        nearest = best(cosines - cosines.min() + 1, CANDIDATES)
        scored = Scored(nearest.rows, cosines[nearest.rows])
        hits = fuse(scored, words.scores(text), cosines.__getitem__, index.info.fusions["t"], words.exact(text))
        found = index.rank(query, text, limit=len(products))
        assert [hit.id for hit in found] == [products[row].id for row in hits.rows], text
        assert [hit.score for hit in found] == pytest.approx(hits.scores.tolist(), abs=1e-3)
        assert [hit.vector_rank or 0 for hit in found] == hits.vector_ranks.tolist()
        assert [hit.word_rank or 0 for hit in found] == hits.word_ranks.tolist()
