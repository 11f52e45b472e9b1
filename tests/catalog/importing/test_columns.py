"""Which column means what: by the user's mapping, or by the usual names."""

from __future__ import annotations

import pytest

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError


def test_usual_names_are_found() -> None:
    columns = ["SKU", "productDisplayName", "masterCategory", "subCategory", "articleType", "baseColour", "image_path"]
    mapping = ColumnMapping().resolve(columns, "styles.csv")
    assert (mapping.id, mapping.title, mapping.images) == ("SKU", "productDisplayName", ("image_path",))
    assert mapping.category == ("masterCategory", "subCategory", "articleType")
    assert mapping.attributes == ("baseColour",)
    assert mapping.price == ""


@pytest.mark.parametrize(
    "header",
    [
        "Artikel-Nr.;Bezeichnung;Beschreibung;Warengruppe;Bild;Preis (EUR);Farbe",
        "Référence;Titre;Descriptif;Catégorie;Photo;Prix TTC;Couleur",
        "CÓDIGO;Nombre del producto;Descripción;Categoría;Imagen;Precio;Color",
        "Codice;Nome prodotto;Descrizione;Categoria;Immagine;Prezzo;Colore",
        "Código do Produto;Nome;Descrição;Departamento;Imagem;Preço R$;Cor",
        "artikelnummer;Productnaam;Omschrijving;Categorie;Afbeelding;Prijs;Kleur",
        "Indeks;Nazwa produktu;Opis;Kategoria;Zdjęcie;Cena brutto (zł);Kolor",
        "Artikelnummer;Benämning;Beskrivning;Kategori;Bild;Pris;Färg",
        "Varenummer;Navn;Beskrivelse;Kategori;Billede;Pris;Farve",
        "Varenr;Tittel;Beskrivelse;Kategori;Bilde;Pris i NOK;Farge",
        "Ürün Kodu;Ürün Adı;Açıklama;Kategori;Görsel;Fiyat;Renk",
        "商品编号;商品名称;商品描述;类目;主图;售价;颜色",
        "商品番号;商品名;商品説明;カテゴリ;画像URL;価格;カラー",
        "product_id;TITLE;body_html;product_type;image_src;price_usd;colour",
    ],
)
def test_usual_names_of_many_languages_are_found(header: str) -> None:
    columns = header.split(";")
    mapping = ColumnMapping().resolve(columns, "shop.csv")
    found = (mapping.id, mapping.title, mapping.description, mapping.category, mapping.images, mapping.price)
    assert found == (*columns[:3], (columns[3],), (columns[4],), columns[5])
    assert mapping.attributes == (columns[6],)


def test_accents_may_be_missing() -> None:
    mapping = ColumnMapping().resolve(["sku", "Zdjecie glowne", "Storrelse", "PRECO"], "shop.csv")
    assert (mapping.images, mapping.attributes, mapping.price) == (("Zdjecie glowne",), ("Storrelse",), "PRECO")


def test_all_columns_of_images_are_found() -> None:
    mapping = ColumnMapping().resolve(["id", "Bild 1", "Bild 2", "image_alt", "additional_image_link"], "shop.csv")
    assert mapping.images == ("Bild 1", "Bild 2", "additional_image_link")


def test_columns_that_call_themselves_attributes_are_attributes() -> None:
    mapping = ColumnMapping().resolve(["id", "title", "attribute:colour", "Attribute: Size", "attributes"], "shop.csv")
    assert mapping.attributes == ("attributes", "attribute:colour", "Attribute: Size")


def test_a_named_column_wins_and_an_empty_name_leaves_out() -> None:
    mapping = ColumnMapping(title="alt", price="").resolve(["id", "title", "alt", "price"], "shop.csv")
    assert (mapping.id, mapping.title, mapping.price) == ("id", "alt", "")


def test_a_list_of_names_that_yaml_takes_for_numbers_is_read_as_written() -> None:
    columns = ["2024", "true", "1e3", "007", "[x]"]
    mapping = ColumnMapping(id="2024", title="[x]", attributes="[true, 1e3, '007']").resolve(columns, "shop.csv")
    assert (mapping.title, mapping.attributes) == ("[x]", ("true", "1e3", "007"))
    with pytest.raises(CatalogError, match="has no column 'no', named as images"):
        ColumnMapping(id="2024", images="[1e3, no]").resolve(columns, "shop.csv")
    log = ["query_text", "product_id", "2024", "true"]
    assert LogMapping(clicked="[2024, true]").resolve(log, "log.csv").clicked == ("2024", "true")


def test_a_missing_column_is_an_error_that_lists_the_columns() -> None:
    with pytest.raises(CatalogError) as refused:
        ColumnMapping(title="tittle").resolve(["id", "title", "photo"], "shop.csv")
    message = "shop.csv: has no column 'tittle', named as title; did you mean 'title'? its columns are id, title, photo"
    assert str(refused.value) == message
    with pytest.raises(CatalogError, match="has no column 'nam', named as title"):
        ColumnMapping(title=("brand", "nam")).resolve(["id", "brand", "name"], "shop.csv")
    with pytest.raises(CatalogError, match=r"which column is the id\?.*its columns are name, photo"):
        ColumnMapping().resolve(["name", "photo"], "shop.csv")
    with pytest.raises(CatalogError, match="which column is the title or the image"):
        ColumnMapping().resolve(["id", "weight"], "shop.csv")


def test_beside_known_columns_none_is_found_by_its_usual_name() -> None:
    columns = ["id", "title", "image", "brand", "price", "category"]
    mapping = ColumnMapping.only(id="id", title="title").resolve(columns, "known.csv")
    assert (mapping.images, mapping.attributes, mapping.category, mapping.price) == ((), (), (), "")
