"""What is installed: one version number, a wheel with its templates and static files, a container that starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import pytest
import yaml

import moon2
from moon2.serve.command import serve

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_there_is_one_version_number() -> None:
    assert moon2.__version__ == PROJECT["version"]


def test_a_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, env=os.environ)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {str(path.relative_to(source / "src")) for path in (source / "src").rglob("*") if path.is_file()}
    assert held == {name for name in files if ".egg-info/" not in name}
    assert {"moon2/serve/page/page.html.j2", "moon2/serve/page/static/main.js"} <= held


def test_the_container_starts_a_server_with_options_that_there_are() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "'.[serve]'" in dockerfile and "serve" in PROJECT["optional-dependencies"]
    for service in services.values():
        command, _, *options = service["command"]
        assert command == "serve"
        assert {option[2:] for option in options if option.startswith("--")} <= set(signature(serve).parameters)
    assert services["cuda"]["build"]["args"].keys() == {"PIP_EXTRA_INDEX_URL"}
    assert "ARG PIP_EXTRA_INDEX_URL" in dockerfile
