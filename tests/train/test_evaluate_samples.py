"""What `evaluate` says of single samples: which they are, whatever the order of the loader."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sklearn_metrics
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from cnnkit.data import ArrayDataset, ImageFolder, make_loader, make_loaders, train_val_split
from cnnkit.device import DeviceDataLoader
from cnnkit.errors import ArgumentError, DataError, ModelError
from cnnkit.metrics import Report, probabilities
from cnnkit.models import MLP
from cnnkit.train import evaluate

reference: Any = sklearn_metrics  # its annotations are narrower than what it takes


class Marked(nn.Module):
    """Reads from an image's first pixel which sample it is, and answers by a table of logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", logits)

    def forward(self, images: Tensor) -> Tensor:
        number = (images.flatten(1)[:, 0] * 255).round().long()
        answers: Tensor = self.get_buffer("table")[number]
        return answers


def marked(n: int = 61, classes: int = 3, seed: int = 0) -> tuple[ArrayDataset, Marked, list[int]]:
    """Images that carry their number, a model with an answer to each, and which are wrong."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator)
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4)
    wrong = (logits.argmax(1) != labels).nonzero()[:, 0].tolist()
    return ArrayDataset(images, labels, classes=list("abc"[:classes])), Marked(logits), wrong


def floats(ds: ArrayDataset) -> TensorDataset:
    return TensorDataset(ds.images.float() / 255, ds.targets)


def indices(report: Report) -> list[int]:
    return sorted(mistake.index for mistake in report.mistakes)


OURS: list[dict[str, Any]] = [
    {},
    {"shuffle": True},
    {"shuffle": True, "seed": 3},
    {"batch_size": 1},
    {"batch_size": 15, "shuffle": True},  # the last one joins the batch before
    {"num_workers": 2, "shuffle": True},
]


@pytest.mark.parametrize("options", OURS)
def test_indices_of_our_loaders(options: dict[str, Any]) -> None:
    ds, model, wrong = marked()
    options = {"batch_size": 8, "device": "cpu", **options}
    loader = make_loader(ds, options.pop("batch_size"), **options)
    first, second = evaluate(model, loader), evaluate(model, loader)  # another order each pass
    for report in (first, second):
        assert report.indices_into == "dataset"
        assert indices(report) == wrong
        for mistake in report.mistakes:
            assert ds.classes[ds[mistake.index][1]] == mistake.true
    assert first.mistakes == second.mistakes
    assert loader.epoch == 2


FOREIGN: dict[str, Any] = {
    "in order": lambda ds: DataLoader(ds, 8),
    "shuffled": lambda ds: DataLoader(ds, 8, shuffle=True),
    "generator": lambda ds: DataLoader(
        ds, 8, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "drop last": lambda ds: DataLoader(ds, 8, shuffle=True, drop_last=True),
    "workers": lambda ds: DataLoader(ds, 8, shuffle=True, num_workers=2),
    "kept workers": lambda ds: DataLoader(
        ds, 8, shuffle=True, num_workers=1, persistent_workers=True
    ),
    "weighted": lambda ds: DataLoader(ds, 8, sampler=WeightedRandomSampler([1.0] * len(ds), 40)),
    "own batches": lambda ds: DataLoader(ds, batch_sampler=[[5, 3, 60], [0], [7, 7]]),
    "whole batches": lambda ds: DataLoader(
        ds, sampler=BatchSampler(RandomSampler(ds), 8, False), batch_size=None
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_indices_of_foreign_loaders(name: str) -> None:
    ds, model, wrong = marked()
    plain = floats(ds)
    loader = FOREIGN[name](plain)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        report = evaluate(model, DeviceDataLoader(loader, "cpu"))
    assert report.indices_into == "dataset"
    assert set(indices(report)) <= set(wrong)
    assert len(report.mistakes) == report.samples - report.correct > 0
    if name not in ("drop last", "weighted", "own batches"):
        assert indices(report) == wrong
    for mistake in report.mistakes:
        assert str(int(plain[mistake.index][1])) == mistake.true


def test_a_foreign_loader_is_left_as_it_was() -> None:
    """The same draws from the global generator, and the next epoch next."""
    ds, model, _ = marked()

    class Epochs(RandomSampler):
        seen: list[int] = []  # noqa: RUF012

        def set_epoch(self, epoch: int) -> None:
            self.seen.append(epoch)

    inner: DataLoader[Any] = DataLoader(floats(ds), 8, sampler=Epochs(ds))
    loader = DeviceDataLoader(inner, "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in loader:
            pass
        after = torch.get_rng_state()
        torch.manual_seed(0)
        evaluate(model, loader)
        assert torch.equal(torch.get_rng_state(), after)
    assert (Epochs.seen, loader.epoch) == ([0, 1], 2)
    assert loader.loader is inner


class Stream(IterableDataset[Any]):
    def __init__(self, ds: TensorDataset) -> None:
        self.ds = ds

    def __iter__(self) -> Iterator[Any]:
        return (self.ds[i] for i in range(len(self.ds)))


class Reordering(DataLoader[Any]):
    def __iter__(self) -> Any:
        return iter(list(super().__iter__())[::-1])


class Keyed(Dataset[Any]):
    """Positions that are names."""

    def __init__(self, ds: TensorDataset) -> None:
        self.ds = ds

    def __len__(self) -> int:
        return len(self.ds)

    def __getitem__(self, name: str) -> Any:
        return self.ds[int(name[1:])]


def dropping(samples: list[Any]) -> Any:
    kept = samples[1:]
    return torch.stack([image for image, _ in kept]), torch.stack([label for _, label in kept])


UNKNOWN: dict[str, Any] = {
    "list": lambda ds: [ds[:20], ds[20:]],
    "generator": lambda ds: (ds[i : i + 8] for i in range(0, len(ds), 8)),
    "stream": lambda ds: DataLoader(Stream(ds), 8),
    "reordering": lambda ds: Reordering(ds, 61),
    "names": lambda ds: DataLoader(Keyed(ds), 8, sampler=[f"n{i}" for i in range(61)]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_the_order_is_not_known_it_is_that_of_the_loader(name: str) -> None:
    ds, model, wrong = marked()
    report = evaluate(model, DeviceDataLoader(UNKNOWN[name](floats(ds)), "cpu"))
    assert report.indices_into == "loader"
    assert indices(report) == wrong
    assert all(mistake.path is None for mistake in report.mistakes)


def test_an_order_that_does_not_fit_is_not_used() -> None:
    """A collate function that leaves samples out."""
    ds, model, _ = marked()
    loader: DataLoader[Any] = DataLoader(floats(ds), 8, collate_fn=dropping)
    report = evaluate(model, DeviceDataLoader(loader, "cpu"))
    assert report.samples == 61 - 8
    assert report.indices_into == "loader"


def test_indices_are_into_the_part_that_the_loader_has() -> None:
    ds, model, wrong = marked()
    split = train_val_split(ds, val=0.3, test=0.3)
    assert split.test is not None
    loaders = make_loaders(split, 8, preprocess=None, device="cpu")
    assert loaders.test is not None
    report = evaluate(model, loaders.test)
    whole = sorted(int(split.test.indices[index]) for index in indices(report))
    assert whole == [index for index in wrong if index in split.test.indices.tolist()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images whose brightness is their number, in three class folders."""
    folder = tmp_path_factory.mktemp("marked")
    for number in range(12):
        path = folder / "cab"[number % 3] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
    return folder


def number_of(path: str | None) -> int:
    assert path is not None
    return int(Path(path).stem)


@pytest.mark.parametrize("cache", ["memory", "off"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_paths_of_folders(root: Path, cache: Any, shuffle: bool) -> None:
    ds = ImageFolder(root, image_size=4)
    model = Marked(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))
    for part in (ds, ds.subset([7, 2, 3, 11, 0])):
        loader = make_loader(part, 4, shuffle=shuffle, cache=cache, device="cpu")
        report = evaluate(model, loader)
        assert len(report.mistakes) >= 3
        for mistake in report.mistakes:
            assert mistake.path == part.paths[mistake.index]
            label = int(model.get_buffer("table")[number_of(mistake.path)].argmax())
            assert ds.classes[label] == mistake.predicted
            assert mistake.path is not None
            assert Path(mistake.path).parent.name == mistake.true


def test_paths_of_foreign_folders(root: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    to_tensor = torchvision.transforms.ToTensor()
    ds = torchvision.datasets.ImageFolder(str(root), transform=to_tensor)
    model = Marked(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))
    nested: Any = Subset(Subset(ds, [9, 8, 7, 6, 5, 4, 3]), [6, 0, 1, 2, 3])
    split = train_val_split(ds, val=0.5)
    for part in (ds, nested, split.val):
        assert part is not None
        loader: Any = DataLoader(part, 4, shuffle=True)
        report = evaluate(model, DeviceDataLoader(loader, "cpu"))
        assert len(report.mistakes) > 0
        for mistake in report.mistakes:
            image, _ = part[mistake.index]
            assert number_of(mistake.path) == round(float(image[0, 0, 0]) * 255)


def test_paths_are_not_made_up() -> None:
    class Other(TensorDataset):
        samples = [(torch.zeros(1), 0)] * 61

    ds, model, _ = marked()
    loader: Any = DataLoader(Other(ds.images.float() / 255, ds.targets), 8)
    report = evaluate(model, DeviceDataLoader(loader, "cpu"))
    assert {mistake.path for mistake in report.mistakes} == {None}


def test_mistakes_have_the_models_probabilities() -> None:
    ds, model, _ = marked()
    chances = probabilities(model.get_buffer("table"))
    report = evaluate(model, make_loader(ds, 8, shuffle=True, device="cpu"))
    confidence = [mistake.probability for mistake in report.mistakes]
    assert confidence == sorted(confidence, reverse=True)
    for mistake in report.mistakes:
        row = chances[mistake.index].tolist()
        assert mistake.probability == max(row)
        assert mistake.true_probability == row["abc".index(mistake.true)]
        assert mistake.probabilities == {name: row["abc".index(name)] for name in "abc"}


def test_only_so_many_mistakes_are_kept() -> None:
    ds, model, wrong = marked()
    report = evaluate(model, make_loader(ds, 8, device="cpu"), max_mistakes=5)
    assert len(report.mistakes) == 5
    assert report.mistakes_left_out == len(wrong) - 5
    with pytest.raises(ArgumentError, match="max_mistakes"):
        evaluate(model, make_loader(ds, 8, device="cpu"), max_mistakes=-5)


def binary(one_logit: bool) -> tuple[ArrayDataset, nn.Module, Tensor]:
    ds, model, _ = marked(classes=2)
    table = model.get_buffer("table")
    if one_logit:
        model = Marked(table[:, 1] - table[:, 0])
    named = ArrayDataset(ds.images, ds.targets, classes=["mario", "wario"])
    return named, model, probabilities(model.get_buffer("table"))


@pytest.mark.parametrize("one_logit", [False, True])
@pytest.mark.parametrize("positive", [None, "wario", "mario"])
@pytest.mark.parametrize("threshold", [None, 0.2, 0.7])
def test_the_positive_class(one_logit: bool, positive: str | None, threshold: float | None) -> None:
    ds, model, chances = binary(one_logit)
    loader = make_loader(ds, 8, shuffle=True, device="cpu")
    report = evaluate(model, loader, positive=positive, threshold=threshold)
    label = 0 if positive == "mario" else 1
    assert report.positive == (positive or "wario")
    assert report.threshold == threshold
    score, truth = chances[:, label], ds.targets == label
    said = score >= (0.5 if threshold is None else threshold)
    assert report.binary.recall == pytest.approx(reference.recall_score(truth, said))
    assert report.binary.precision == pytest.approx(reference.precision_score(truth, said))
    assert report.binary.f1 == pytest.approx(reference.f1_score(truth, said))
    specificity = reference.recall_score(~truth, ~said)
    assert report.binary.specificity == pytest.approx(specificity)
    assert report.roc().area == pytest.approx(reference.roc_auc_score(truth, score))
    average = reference.average_precision_score(truth, score)
    assert report.precision_recall().area == pytest.approx(average)
    assert report.accuracy == pytest.approx(((said == truth).double().mean()).item())


@pytest.mark.parametrize("one_logit", [False, True])
@pytest.mark.parametrize("positive", ["wario", "mario"])
def test_a_chosen_threshold_gives_what_it_promised(one_logit: bool, positive: str) -> None:
    ds, model, _ = binary(one_logit)
    loader = make_loader(ds, 8, device="cpu")
    choice = evaluate(model, loader, positive=positive).choose_threshold("f1")
    again = evaluate(model, loader, positive=positive, threshold=choice.threshold)
    assert again.binary.f1 == pytest.approx(choice.f1)
    assert again.accuracy == pytest.approx(choice.accuracy)


def test_the_models_own_threshold_is_for_class_1() -> None:
    ds, _, _ = binary(one_logit=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MLP(2, in_channels=1, image_size=4, binary=True)
    net.threshold = 0.4
    loader = make_loader(ds, 8, device="cpu")
    plain, turned = evaluate(net, loader), evaluate(net, loader, positive="mario")
    assert torch.equal(plain.confusion_matrix, turned.confusion_matrix)
    assert (plain.threshold, turned.threshold) == (0.4, 0.6)
    assert (plain.positive, turned.positive) == ("wario", "mario")


def test_classes_without_names_are_positive_by_their_number() -> None:
    ds, model, _ = binary(one_logit=False)
    pairs = [(ds.images.float() / 255, ds.targets)]
    assert evaluate(model, pairs).positive == "1"
    assert evaluate(model, pairs, positive="0").positive == "0"


def test_what_is_no_positive_class_is_refused() -> None:
    ds, model, _ = binary(one_logit=False)
    with pytest.raises(ArgumentError, match=r"\('mario', 'wario'\), received 'luigi'"):
        evaluate(model, make_loader(ds, 8, device="cpu"), positive="luigi")
    three, other, _ = marked()
    with pytest.raises(ArgumentError, match="positive='a' for 3 classes"):
        evaluate(other, make_loader(three, 8, device="cpu"), positive="a")
    with pytest.raises(ArgumentError, match="threshold is for two classes, received 3"):
        evaluate(other, make_loader(three, 8, device="cpu"), threshold=0.5)


def test_a_model_that_has_diverged_is_refused() -> None:
    ds, model, _ = marked()
    model.get_buffer("table")[33, 1] = torch.nan
    with pytest.raises(ModelError, match=r"1 of 61 samples are nan.*number 33.*learning rate"):
        evaluate(model, make_loader(ds, 8, device="cpu"))


def test_labels_outside_are_refused_before_they_do_harm() -> None:
    ds, model, _ = marked()
    labels = ds.targets.clone()
    labels[:2] = 5
    pairs = [(ds.images.float() / 255, labels)]
    with pytest.raises(DataError, match="2 labels are outside the 3 classes"):
        evaluate(model, pairs, loss=lambda logits, _: logits.mean())


ON_FAKE_ACCELERATOR = """
import torch
import fake_accelerator
from cnnkit.data import ArrayDataset, make_loader
from cnnkit.train import evaluate

class Model(torch.nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.linear = torch.nn.Linear(16, outputs)

    def forward(self, images):
        logits = self.linear(images.flatten(1))
        return logits[:, 0] if logits.shape[1] == 1 else logits

for classes, outputs in ((3, 3), (2, 2), (2, 1)):
    images = torch.randint(0, 256, (50, 4, 4)).to(torch.uint8)
    ds = ArrayDataset(images, torch.arange(50) % classes)
    model = Model(outputs)
    reports = [
        evaluate(model, make_loader(ds, 8, shuffle=True, device=device))
        for device in ("cpu", "fakegpu")
    ]
    assert next(model.parameters()).device.type == "fakegpu"
    assert reports[0].to_dict() == reports[1].to_dict()
    assert reports[0].mistakes
"""


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no backend written in Python",
)
def test_an_accelerator_gives_the_same_report() -> None:
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests.parent / "src"), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", ON_FAKE_ACCELERATOR],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("one_logit", [False, True])
def test_a_cuda_device_gives_the_same_report(one_logit: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    ds, model, _ = binary(one_logit)
    on_cpu = evaluate(model, make_loader(ds, 8, shuffle=True, device="cpu"))
    on_cuda = evaluate(model, make_loader(ds, 8, shuffle=True, device="cuda"))
    assert torch.equal(on_cpu.confusion_matrix, on_cuda.confusion_matrix)
    assert sorted(m.index for m in on_cpu.mistakes) == sorted(m.index for m in on_cuda.mistakes)
    assert on_cuda.roc().area == pytest.approx(on_cpu.roc().area, abs=1e-6)


def test_half_precision_counts_like_it_decides() -> None:
    ds, _, _ = marked()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = MLP(3, in_channels=1, image_size=4)
    loader = make_loader(ds, 8, device="cpu")
    full, half = evaluate(net, loader), evaluate(net, loader, precision="bf16")
    assert half.loss == pytest.approx(full.loss, rel=0.02)
    assert half.loss != full.loss
    with pytest.raises(ArgumentError, match=r"precision.*'fp8'"):
        evaluate(net, loader, precision="fp8")  # type: ignore[arg-type]
