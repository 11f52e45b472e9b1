"""What is sent to a browser: nothing that runs in the page itself, and a policy that forbids it."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from moon2.serve.page.page import STATIC, ShownIndex, add_page


def client(*indexes: ShownIndex) -> TestClient:
    app = FastAPI()
    add_page(app, lambda: indexes)
    return TestClient(app)


def test_the_page_loads_files_of_this_server_only_and_has_no_script_of_its_own() -> None:
    answer = client(ShownIndex("shop", 1200)).get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "1,200 products" in answer.text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script[^>]*>[^<]", answer.text)
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)


def test_names_of_indexes_are_text() -> None:
    text = client(ShownIndex("<script>a", 1), ShownIndex('"><b>', 2)).get("/").text
    assert "<script>a" not in text and '"><b>' not in text and "&lt;script&gt;a" in text


@pytest.mark.parametrize("file", sorted(path.name for path in STATIC.iterdir()))
def test_every_file_that_is_named_is_there(file: str) -> None:
    answer = client().get(f"/static/{file}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    for other in re.findall(r'from "\./(\w+\.js)"', answer.text):
        assert (STATIC / other).is_file()


def test_nothing_beside_the_files_is_served() -> None:
    for path in ("/static/../page.py", "/static/%2e%2e/page.py", "/static/"):
        assert client().get(path).status_code == 404


def test_a_server_without_an_index_says_so() -> None:
    text = client().get("/").text
    assert "It has no index to search in" in text and "<script" not in text
