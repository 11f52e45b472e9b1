"""A large image is decoded once; what is kept is never seen in the pixels, and never fills the disk."""

from __future__ import annotations

import io
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.photos import synthetic_photo

from moon2 import image_cache
from moon2.image_cache import ImageCache, caching_opener
from moon2.images import open_image


@dataclass(frozen=True)
class Square:
    """Every image is read at one square."""

    side: int = 64
    resample: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        return self.side, self.side


READ_AT = Square()


@pytest.fixture(autouse=True)
def _small_photos_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "SMALLEST_ORIGINAL", 200 * 150)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Clearly larger than 64 × 64."""
    return synthetic_photo(240, 180)


@pytest.fixture
def jpeg(photo: Image.Image, tmp_path: Path) -> Path:
    """It as a file."""
    path = tmp_path / "photo.jpg"
    photo.save(path)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened other than from the cache: grows by the name that each was given."""
    names: list[str] = []

    def note(source: object, where: str = "", read_at: object = None) -> Image.Image:
        if read_at is not None:
            names.append(where)
        return open_image(source, where, read_at)  # type: ignore[arg-type]

    monkeypatch.setattr(image_cache, "open_image", note)
    return names


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_large_image_is_decoded_once_and_is_the_same_ever_after(
    jpeg: Path, tmp_path: Path, opened: list[str]
) -> None:
    cache = ImageCache(tmp_path / "cache", 1e6)
    for source in (jpeg, str(jpeg), jpeg.read_bytes()):
        wanted = np.asarray(open_image(source, read_at=READ_AT))
        first, second = (np.asarray(cache(source, str(number), READ_AT)) for number in range(2))
        assert np.array_equal(first, wanted) and np.array_equal(second, wanted)
    # By either name of its path it is one image; as bytes it is known by what they are.
    assert opened == ["0", "0"] and len(entries(tmp_path / "cache")) == 2


def test_another_image_size_or_time_is_another_entry(jpeg: Path, photo: Image.Image, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "cache", 1e6)
    assert cache(jpeg, read_at=READ_AT).size == (64, 64)
    assert cache(jpeg, read_at=Square(32)).size == (32, 32)
    bitmap = tmp_path / "photo.bmp"
    for time, image in enumerate((photo, Image.new("RGB", photo.size))):
        image.save(bitmap)
        os.utime(bitmap, (time, time))
        black = not np.asarray(cache(bitmap, read_at=READ_AT)).any()
        assert black == (time == 1), "the file was written anew, to the same length"
    white = io.BytesIO()
    Image.new("RGB", photo.size, "white").save(white, "PNG")
    assert np.asarray(cache(white.getvalue(), read_at=READ_AT)).min() == 255
    assert len(entries(tmp_path / "cache")) == 5


def test_what_is_small_or_cannot_be_known_again_is_not_kept(jpeg: Path, photo: Image.Image, tmp_path: Path) -> None:
    cache, folder = ImageCache(tmp_path / "cache", 1e6), tmp_path / "cache"
    small = tmp_path / "small.jpg"
    photo.resize((120, 100)).save(small)
    assert cache(small, read_at=READ_AT).size == (120, 100)
    assert cache(photo, read_at=READ_AT).size == (64, 64)
    assert cache(np.asarray(photo), read_at=READ_AT).size == (64, 64)
    with jpeg.open("rb") as file:
        assert cache(file, read_at=READ_AT).size == (64, 64)
    assert cache(jpeg).size == photo.size, "nobody said at which size it is read"
    assert not folder.exists()


def test_errors_are_those_of_opening(tmp_path: Path) -> None:
    cache, broken = ImageCache(tmp_path / "cache", 1e6), tmp_path / "broken.jpg"
    broken.write_bytes(b"no image at all")
    for source in (tmp_path / "gone.jpg", broken, b"no image", "https://example.com/a.jpg", "a\0b.jpg"):
        with pytest.raises(ValueError) as plain:
            open_image(source, "image 3", READ_AT)
        with pytest.raises(ValueError) as cached:
            cache(source, "image 3", READ_AT)
        assert (type(cached.value), str(cached.value)) == (type(plain.value), str(plain.value))


@pytest.mark.parametrize("damage", ["cut", "empty", "changed"])
def test_a_damaged_entry_is_written_anew(damage: str, jpeg: Path, tmp_path: Path, opened: list[str]) -> None:
    cache = ImageCache(tmp_path / "cache", 1e6)
    wanted = np.asarray(cache(jpeg, read_at=READ_AT))
    (entry,) = entries(tmp_path / "cache")
    sound = entry.read_bytes()
    middle = len(sound) // 2
    changed = sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :]
    entry.write_bytes({"cut": sound[:middle], "empty": b"", "changed": changed}[damage])
    for _ in range(2):
        assert np.array_equal(np.asarray(cache(jpeg, read_at=READ_AT)), wanted)
    assert entry.read_bytes() == sound and len(opened) == 2


def test_the_oldest_make_room_and_the_folder_is_seldom_measured(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbered(number: int) -> Path:
        path = tmp_path / f"{number}.png"
        changed = photo.copy()
        changed.putpixel((0, 0), (number, 0, 0))
        changed.save(path)
        return path

    folder = tmp_path / "cache"
    paths = [numbered(number) for number in range(60)]
    ImageCache(tmp_path / "one", 1e9)(paths[0], read_at=READ_AT)
    size = entries(tmp_path / "one")[0].stat().st_size
    limit = 32.5 * size
    measured: list[Path] = []
    remove_oldest = ImageCache._remove_oldest
    monkeypatch.setattr(ImageCache, "_remove_oldest", lambda cache: (measured.append(folder), remove_oldest(cache)))
    monkeypatch.setattr(image_cache, "SHARE_BETWEEN_CHECKS", 1 / 8)
    cache = ImageCache(folder, limit)
    for number, path in enumerate(paths):
        cache(path, read_at=READ_AT)
        assert sum(entry.stat().st_size for entry in entries(folder)) <= limit
        newest = max(entries(folder), key=lambda entry: entry.stat().st_mtime_ns)
        os.utime(newest, ns=(number, number))  # each a little younger than the last, whatever the clock's steps
    ages = sorted(entry.stat().st_mtime_ns for entry in entries(folder))
    assert ages == list(range(60 - len(ages), 60)), "the youngest are kept"
    assert 24 <= len(ages) <= 33
    assert len(measured) <= 60 // 4 + 1


def test_a_new_process_measures_what_others_left(photo: Image.Image, tmp_path: Path) -> None:
    """Many short runs, each of which writes little, fill no disk either."""
    folder = tmp_path / "cache"
    (folder / "ab").mkdir(parents=True)
    for number in range(10):
        (folder / "ab" / str(number)).write_bytes(bytes(200_000))
        os.utime(folder / "ab" / str(number), (number, number))
    path = tmp_path / "photo.png"
    photo.save(path)
    ImageCache(folder, 1_000_000)(path, read_at=READ_AT)
    assert sum(entry.stat().st_size for entry in entries(folder)) <= 1_000_000


def test_a_folder_that_cannot_be_written_costs_a_line_and_no_image(
    jpeg: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ImageCache(tmp_path / "file" / "cache", 1e6)
    for _ in range(3):
        assert cache(jpeg, read_at=READ_AT).size == (64, 64)
    assert caplog.text.count("large images are not cached") == 1


def open_often(cache: ImageCache, paths: list[Path], results: multiprocessing.Queue[bytes]) -> None:
    for _ in range(20):
        for path in paths:
            results.put(cache(path, read_at=READ_AT).tobytes())


def test_processes_may_share_a_folder(photo: Image.Image, tmp_path: Path) -> None:
    """With room for half of the images, so that entries come and go under the readers' hands."""
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        photo.rotate(10 * number).save(paths[-1])
    wanted = [open_image(path, read_at=READ_AT).tobytes() for path in paths] * 20
    cache = ImageCache(tmp_path / "cache", 40_000)
    context = multiprocessing.get_context("fork")
    queues = [context.Queue() for _ in range(3)]
    workers = [context.Process(target=open_often, args=(cache, paths, queue)) for queue in queues]
    for worker in workers:
        worker.start()
    for queue in queues:
        assert [queue.get(timeout=60) for _ in wanted] == wanted
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert 0 < len(entries(tmp_path / "cache")) < 6
    assert not [entry for entry in entries(tmp_path / "cache") if entry.suffix == ".new"]


def test_the_cache_lies_in_the_users_cache_folder_also_for_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert caching_opener(0) is open_image
    synthetic_photo(1200, 900).save(tmp_path / "large.jpg")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
        worker.submit(caching_opener(1), tmp_path / "large.jpg", read_at=READ_AT).result()
    assert len(entries(tmp_path / "caches" / "moon2" / "images")) == 1
