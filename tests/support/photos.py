"""Large photos, made up; the same as those of the benchmark."""

from __future__ import annotations

from support.benchmark_scripts import load_script

synthetic_photo = load_script("image_loading").synthetic_photo
