"""The probabilities of validation for any file: every size, mode, format, orientation, setting."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from cnnkit import Classifier, Prediction, Preprocess
from cnnkit.data import ImageFolder, make_loader
from cnnkit.metrics import probabilities
from cnnkit.types import Interpolation, Mode, Resize

#: Pillow's modes that each format stores; JPEG, PNG, TIFF and WebP also store an orientation.
STORED = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P", "RGB"),
}
ORIENTED = ("PNG", "JPEG", "TIFF", "WEBP")
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
TOLERANCE = 1e-5


class File(NamedTuple):
    """What a file is made of."""

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    seed: int

    def content(self) -> bytes:
        image = in_mode(self.mode, self.size, self.seed)
        options: dict[str, Any] = {}
        if self.format in ORIENTED and self.orientation != 1:
            exif = Image.Exif()
            exif[0x0112] = self.orientation
            options["exif"] = exif
        stream = io.BytesIO()
        image.save(stream, self.format, **options)
        return stream.getvalue()


def in_mode(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    """Noise over a gradient, so that nothing is lost in it and nothing is flat."""
    generator = np.random.default_rng(seed)
    width, height = size
    ramp = np.linspace(0, 180, width)[None, :, None] + generator.integers(0, 70, (height, width, 4))
    pixels = ramp.astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((ramp[..., 0] * 257).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(ramp[..., 0].astype(np.float32))
    if mode == "LAB":
        return Image.frombytes("LAB", size, pixels[..., :3].tobytes())
    if mode in ("RGBA", "LA"):
        return Image.fromarray(pixels).convert(mode)
    return Image.fromarray(pixels[..., :3]).convert(mode)


files = st.sampled_from(sorted(STORED)).flatmap(
    lambda format: st.builds(
        File,
        st.just(format),
        st.sampled_from(STORED[format]),
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        st.integers(1, 8),
        st.integers(0, 2**16),
    )
)
# Large enough to be decoded at a half, a quarter or an eighth.
large = st.builds(
    File,
    st.just("JPEG"),
    st.sampled_from(STORED["JPEG"]),
    st.tuples(st.integers(60, 300), st.integers(60, 300)),
    st.integers(1, 8),
    st.integers(0, 2**16),
)
settings_of_reading = st.fixed_dictionaries(
    {
        "image_size": st.tuples(st.integers(5, 24), st.integers(5, 24)),
        "mode": st.sampled_from(get_args(Mode)),
        "resize": st.sampled_from(get_args(Resize)),
        "interpolation": st.sampled_from(get_args(Interpolation)),
        "exact_decode": st.booleans(),
    }
)


def network(channels: int, image_size: tuple[int, int]) -> nn.Module:
    """A small one with convolution and batch-norm; one grey level moves its answers by 1e-3."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(6 * (image_size[0] - 2) * (image_size[1] - 2), 3)
        nn.init.normal_(head.weight, std=0.3)
        convolution = nn.Conv2d(channels, 6, 3)
        model = nn.Sequential(convolution, nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), head)
    return model.eval()


def validated(model: nn.Module, ds: ImageFolder, preprocess: Preprocess) -> Tensor:
    """What validation gives, batch by batch."""
    with torch.no_grad():
        batches = make_loader(ds, 3, preprocess=preprocess, device="cpu")
        return torch.cat([probabilities(model(images)) for images, _ in batches])


def rows(found: list[Prediction]) -> Tensor:
    return torch.tensor([list(one.probabilities.values()) for one in found])


@given(
    made=st.lists(st.one_of(files, files, large), min_size=1, max_size=5, unique=True),
    reading=settings_of_reading,
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_file_is_answered_as_in_validation(
    made: list[File], reading: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    paths = [folder / f"{number}.{one.format.lower()}" for number, one in enumerate(made)]
    for path, one in zip(paths, made, strict=True):
        path.write_bytes(one.content())
    ds = ImageFolder.from_files(paths, [0] * len(paths), classes=["a", "b", "c"], **reading)
    preprocess = Preprocess.fit(ds)
    model = network(CHANNELS[reading["mode"]], reading["image_size"])
    expected = validated(model, ds, preprocess)
    classifier = Classifier(model, "abc", preprocess)

    alone = [classifier.predict(path) for path in paths]
    together = classifier.predict(list(paths))
    from_bytes = classifier.predict([path.read_bytes() for path in paths])
    for found in (alone, together, from_bytes):
        assert torch.allclose(rows(found), expected, rtol=0, atol=TOLERANCE)
    below = {row.path: row for row in classifier.predict_folder(folder, progress=False)}
    for path, row in zip(paths, expected, strict=True):
        assert below[str(path)].probability == pytest.approx(float(row.max()), abs=TOLERANCE)


def test_what_was_decoded_exactly_is_answered_alike(tmp_path: Path) -> None:
    """Pillow images and arrays: the pixels are there already, so nothing may be decoded smaller."""
    reading: dict[str, Any] = {"image_size": 12, "exact_decode": True}
    for number, mode in enumerate(("L", "RGB", "CMYK")):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(File("JPEG", mode, (90, 70), 1, number).content())
    paths = sorted(tmp_path.iterdir())
    ds = ImageFolder.from_files(paths, [0] * 3, classes=["a", "b", "c"], **reading)
    preprocess = Preprocess.fit(ds)
    model = network(3, (12, 12))
    classifier = Classifier(model, "abc", preprocess)
    opened = []
    for path in paths:
        with Image.open(path) as image:
            opened.append(image.convert("RGB"))
    arrays = [np.asarray(image) for image in opened]
    for found in (classifier.predict(opened), classifier.predict(arrays)):
        assert torch.allclose(rows(found), validated(model, ds, preprocess), rtol=0, atol=TOLERANCE)


def test_the_model_sees_the_difference_of_a_grey_level() -> None:
    """That the tolerance above is narrow enough to notice another reading."""
    model = network(3, (12, 12))
    classifier = Classifier(model, "abc", Preprocess(12, "RGB", (0.5,) * 3, (0.25,) * 3))
    array = np.asarray(in_mode("RGB", (12, 12), 0))
    one, other = classifier.predict([array, array + 1])
    assert (rows([one]) - rows([other])).abs().max() > 10 * TOLERANCE


def test_threads_with_files_lists_and_folders_at_once(tmp_path: Path) -> None:
    for number in range(12):
        name = tmp_path / f"{number:02}.png"
        name.write_bytes(File("PNG", "RGB", (20 + number, 15), 1, number).content())
    paths = sorted(tmp_path.iterdir())
    preprocess = Preprocess(12, "RGB", (0.5,) * 3, (0.25,) * 3)
    classifier = Classifier(network(3, (12, 12)), "abc", preprocess)

    def alone(number: int) -> object:
        return classifier.predict(paths[number % 12], unknown_below=0.4)

    def together(_: int) -> object:
        return classifier.predict(paths, unknown_below=0.4)

    def folder(_: int) -> object:
        return classifier.predict_folder(tmp_path, unknown_below=0.4, progress=False)

    work = [(alone, together, folder)[number % 3] for number in range(60)]
    expected = [ask(number) for number, ask in enumerate(work)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: work[number](number), range(60)))
    assert found == expected
