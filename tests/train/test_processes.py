"""Several processes train what one process trains: same batches, same figures, same weights."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from processes import on_processes, outcomes_of
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, TensorDataset

from cnnkit import distributed, models, train
from cnnkit.data import (
    ArrayDataset,
    ImageFolder,
    augment,
    make_loader,
    make_loaders,
    train_val_split,
)
from cnnkit.device import stands_in
from cnnkit.errors import ArgumentError, CnnkitWarning, DataError
from cnnkit.train import Callback, History

Weights = dict[str, Tensor]
Trained = tuple[History, Weights, dict[str, Any]]


def images(number: int, classes: int = 2, size: int = 8, seed: int = 1) -> ArrayDataset:
    """Noise, brighter in a band that tells the class."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 120, (number, 1, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, classes, (number,), generator=generator)
    for label in range(classes):
        pixels[labels == label, :, label * (size // classes), :] += 100
    return ArrayDataset(pixels, labels, classes=[f"class {label}" for label in range(classes)])


def net(*, classes: int = 2, size: int = 8, outputs: int | None = None) -> nn.Sequential:
    """Without dropout and without batch normalisation; drawn otherwise in each process."""
    torch.manual_seed(distributed.rank())
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4 * (size // 2) ** 2, outputs or classes),
    )  # fmt: skip


class Binary(nn.Module):
    """One logit a sample."""

    binary, threshold = True, 0.4

    def __init__(self) -> None:
        super().__init__()
        self.net = net(outputs=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[:, 0]  # type: ignore[no-any-return]


class OwnHooks(models.ImageClassificationBase):
    """As in the article, with a mean over batches that is no mean over samples."""

    def __init__(self, *, with_logits: bool) -> None:
        super().__init__()
        self.net, self.with_logits = net(), with_logits
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # type: ignore[no-any-return]

    def training_step(self, batch: Any) -> Any:
        logits = self(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1], label_smoothing=0.1)
        return (loss, logits) if self.with_logits else loss

    def validation_step(self, batch: Any) -> dict[str, Tensor]:
        self.seen.append(len(batch[1]))
        return {
            "worst": nn.functional.cross_entropy(self(batch[0]), batch[1], reduction="none").max()
        }

    def validation_epoch_end(self, outputs: list[dict[str, Tensor]]) -> dict[str, float]:  # type: ignore[override]
        worst = torch.stack([output["worst"] for output in outputs])
        return {"val_loss": worst.mean().item(), "batches": float(len(outputs))}


class HalfUsed(nn.Module):
    """Has parameters that no output depends on, and others that are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = net(), nn.Linear(3, 3)
        self.used[0].requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.used(images)  # type: ignore[no-any-return]


def trained(model: nn.Module, training: Any, validation: Any = None, **options: Any) -> Trained:
    settings: dict[str, Any] = {"epochs": 2, "lr": 0.1, "progress": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)  # these runs are short
        history = train.fit(model, training, validation, **settings)
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        report = train.evaluate(model, validation or training)
    assert history.stop_reason in ("finished", "early")
    for row in history.rows:
        row.pop("seconds")
    return history, weights, report.to_dict()


def ordinary() -> Trained:
    """Augmented, accumulated, class weights, a scheduler by steps; 59 samples in batches of 9."""
    split = train_val_split(images(73), val=14)
    moves = [augment.RandomFlip(), augment.RandomTranslate(2)]
    loaders = make_loaders(split, 9, augment=moves, device="cpu")  # type: ignore[arg-type]
    loss = nn.CrossEntropyLoss(torch.tensor([1.0, 3.0]))
    settings = {"optimizer": "momentum", "scheduler": "one_cycle", "accumulate": 2, "lr": 0.05}
    return trained(net(), loaders.train, loaders.val, loss=loss, clip_norm=0.5, **settings)


def tiny_batches() -> Trained:
    """Batches of two, and a last one of one: some processes have no sample of their own."""
    split = train_val_split(images(10), val=3)
    loaders = make_loaders(split, 2, augment=[augment.RandomTranslate(1)], device="cpu")
    assert len(loaders.val or []) == 2
    return trained(net(), loaders.train, loaders.val)


def weightless_shares() -> Trained:
    """Where a class weighs nothing, some shares and some stand-ins weigh nothing at all."""
    ds = images(12)
    loader = make_loader(ds, 2, device="cpu")
    loss = nn.CrossEntropyLoss(torch.tensor([0.0, 1.0]))
    return trained(net(), loader, loader, loss=loss, accumulate=2)


def binary() -> Trained:
    split = train_val_split(images(33), val=11)
    loaders = make_loaders(split, 8, device="cpu")
    return trained(Binary(), loaders.train, loaders.val, optimizer="adam", lr=0.01)


def own_hooks() -> Trained:
    split = train_val_split(images(30), val=10)
    loaders = make_loaders(split, 4, balanced=True, device="cpu")
    model = OwnHooks(with_logits=True)
    result = trained(model, loaders.train, loaders.val)
    assert model.seen[:3] == [4, 4, 2], "validation batches are given whole"
    return result


def bare_loss() -> Trained:
    loader = make_loader(images(21), 5, shuffle=True, device="cpu")
    return trained(OwnHooks(with_logits=False), loader)


def half_used() -> Trained:
    loader = make_loader(images(22), 5, device="cpu")
    return trained(HalfUsed(), loader, optimizer="adamw", lr=0.01)


def foreign() -> Trained:
    """torch's own loader in order, and a list of batches."""
    ds = images(23)
    pixels, labels = ds[torch.arange(23)]
    training = DataLoader(TensorDataset(pixels, labels), batch_size=6)
    return trained(net(), training, [(pixels[:5], labels[:5]), (pixels[5:], labels[5:])])


def tuned() -> Trained:
    loader = make_loader(images(16), 8, device="cpu")
    return trained(net(), loader, memory_format="tune", evaluate_first=True, seed=None)


SETTINGS: list[Callable[[], Trained]] = [
    ordinary, tiny_batches, weightless_shares, binary, own_hooks, bare_loss, half_used, foreign,
    tuned,
]  # fmt: skip


def all_settings() -> list[Trained]:
    return [setting() for setting in SETTINGS]


def assert_alike(one: Any, other: Any, where: str) -> None:
    """Equal, and floats but for their last digits."""
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for name, value in one.items():
            assert_alike(value, other[name], f"{where}, {name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, value in enumerate(one):
            assert_alike(value, other[index], f"{where}[{index}]")
    elif isinstance(one, Tensor):
        torch.testing.assert_close(other, one, rtol=0, atol=2e-6, msg=lambda m: f"{where}: {m}")
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=2e-6, nan_ok=True), where
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def one_process() -> list[Trained]:
    return all_settings()


@pytest.mark.parametrize("number", [2, 3])
def test_they_follow_one_process(number: int, one_process: list[Trained]) -> None:
    results = on_processes(number, all_settings)
    for setting, (history, weights, report), *others in zip(
        SETTINGS, one_process, *results, strict=True
    ):
        for rank, (theirs, their_weights, their_report) in enumerate(others):
            where = f"{setting.__name__}, process {rank} of {number}"
            assert_alike(history.to_dict(), theirs.to_dict(), where)
            assert_alike(weights, their_weights, where)
            assert_alike(report, their_report, where)
            first = others[0][1]
            assert all(torch.equal(first[n], w) for n, w in their_weights.items()), where


def coded(number: int) -> ArrayDataset:
    """Image i holds i in each of its pixels."""
    pixels = torch.arange(number, dtype=torch.uint8).reshape(-1, 1, 1).expand(-1, 4, 4)
    return ArrayDataset(pixels, torch.arange(number) % 2)


def passes(lengths: list[tuple[int, int]]) -> list[list[list[int]]]:
    """Of each loader the samples of its second epoch that count here, batch by batch."""
    seen = []
    for length, batch_size in lengths:
        loader = make_loader(coded(length), batch_size, shuffle=True, device="cpu", seed=3)
        loader.set_epoch(1)
        seen.append(
            [
                [] if stands_in(batch) else (batch[0][:, 0, 0, 0] * 255).round().int().tolist()
                for batch in loader
            ]
        )
    return seen


@pytest.mark.parametrize("number", [2, 3, 4])
def test_each_sample_comes_once_and_in_the_batch_that_it_would_be_in(number: int) -> None:
    lengths = [(20, 8), (21, 8), (23, 10), (7, 3), (5, 2), (5, 5), (1, 4), (2, 4), (9, 1)]
    (whole,), several = [passes(lengths)], on_processes(number, passes, lengths)
    for (length, batch_size), expected, *theirs in zip(lengths, whole, *several, strict=True):
        for batch, *parts in zip(expected, *theirs, strict=True):
            assert [sample for part in parts for sample in part] == batch
            sizes = {len(part) for part in parts}
            if min(batch_size, length) >= 2 * number and len(batch) > 1:
                assert 1 not in sizes, "batch normalisation cannot train on a single sample"
        assert sorted(sum(expected, [])) == list(range(length))  # noqa: RUF017


def fixed() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def reports(folder: Path) -> dict[str, Any]:
    """By name, reports whose mistakes must be found in the right place."""
    ds = images(41, classes=3)
    pixels, labels = ds[torch.arange(41)]
    pixels = pixels / 255
    tensors = TensorDataset(pixels, labels)
    of_files = ImageFolder(folder, mode="L")
    two = images(30)
    model = fixed()
    batches = list(zip(pixels.split(7), labels.split(7), strict=True))
    loaders = {
        "shuffled": make_loader(ds, 9, shuffle=True, device="cpu"),
        "of files": make_loader(of_files, 4, device="cpu", cache="off"),
        "torch's own": DataLoader(tensors, batch_size=6),
        "of a list": DataLoader(tensors, batch_sampler=[[40, 3, 5], [7], [8, 2]]),
        "without batches": DataLoader(tensors, sampler=BatchSampler(range(41), 5, False), batch_size=None),  # noqa: E501
        "a list": batches,
        "an iterator": iter(batches),
    }  # fmt: skip
    found = {name: train.evaluate(model, loader) for name, loader in loaders.items()}  # type: ignore[arg-type]
    torch.manual_seed(7)
    binary = Binary().eval()
    found["two classes"] = train.evaluate(
        binary, make_loader(two, 8, device="cpu"), positive="class 0"
    )
    found["few"] = train.evaluate(model, batches, max_mistakes=3)
    return {name: report.to_dict() for name, report in found.items()}


def test_reports_are_those_of_one_process(tmp_path: Path) -> None:
    for index, image in enumerate(images(20, classes=3)[torch.arange(20)][0]):
        path = tmp_path / "abc"[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    alone = reports(tmp_path)
    assert len(alone["a list"]["details"]["mistakes"]["index"]) > 10
    assert alone["of files"]["details"]["mistakes"]["paths"]
    for number in (2, 3):
        for rank, theirs in enumerate(on_processes(number, reports, tmp_path)):
            assert_alike(alone, theirs, f"process {rank} of {number}")


class Shuffled(BatchSampler):
    """Draws its batches."""

    def __iter__(self) -> Iterator[list[int]]:
        yield from [[3, 1], [0, 2]]


def foreign_loaders() -> tuple[list[str], list[list[int]], dict[str, Any], dict[str, float]]:
    """What is refused; what a `DistributedSampler` reads; a report; and figures of own hooks."""
    pixels, labels = images(8)[torch.arange(8)]
    ds = TensorDataset(pixels, labels)
    refused = []
    for loader in (
        DataLoader(ds, batch_size=4, shuffle=True),
        DataLoader(ds, batch_sampler=Shuffled(range(8), 2, False)),
        DataLoader(ds, batch_sampler=BatchSampler(torch.utils.data.RandomSampler(ds), 4, False)),
    ):
        for use in (lambda one: train.evaluate(net(), one), lambda one: trained(net(), one)):
            try:
                use(loader)
            except DataError as error:
                refused.append(str(error))
    sampler: DistributedSampler[Any] = DistributedSampler(ds, shuffle=True)
    own = DataLoader(ds, batch_size=2, sampler=sampler)
    batched = DataLoader(
        ds, batch_sampler=BatchSampler(DistributedSampler(ds, shuffle=False), 2, False)
    )
    trained(net(), own, own)
    model = OwnHooks(with_logits=True)
    history, _, _ = trained(model, own, batched)
    report = train.evaluate(fixed(), batched).to_dict()
    seen: list[Any] = [list(sampler), list(batched.batch_sampler or [])]
    return refused, seen, report, history.rows[-1]


def test_loaders_of_other_libraries() -> None:
    results = on_processes(2, foreign_loaders)
    for refused, _, report, row in results:
        assert len(refused) == 6
        assert all("may give each another order: use make_loader" in text for text in refused)
        assert report == results[0][2]
        assert row == results[0][3]
        assert row["batches"] == 4, "each process gave two"
    drawn = [orders[0] for _, orders, _, _ in results]
    assert sorted(drawn[0] + drawn[1]) == list(range(8))
    pixels, labels = images(8)[torch.arange(8)]
    alone = train.evaluate(fixed(), DataLoader(TensorDataset(pixels, labels), batch_size=4))
    assert_alike(alone.to_dict(), results[0][2], "each sample once, and in its place")


class Notes(Callback):
    """What is called, by whom, and what may be done there."""

    def __init__(self, validation: Any, *, stop_at: int | None = None) -> None:
        self.validation, self.stop_at = validation, stop_at
        self.calls: list[str] = []
        self.steps = 0

    def on_fit_start(self, state: Any) -> None:
        self.calls.append("fit_start")
        if self.stop_at == 0:
            state.stop()

    def on_epoch_start(self, state: Any) -> None:
        self.calls.append(f"epoch_start {state.epoch}")

    def on_step_end(self, state: Any) -> None:
        self.steps += 1
        state.optimizer.param_groups[0]["lr"] *= 0.9

    def on_epoch_end(self, state: Any) -> None:
        self.calls.append(f"epoch_end {state.epoch}")
        state.row["samples"] = train.evaluate(state.model, self.validation).samples
        with torch.no_grad():
            next(state.model.parameters()).mul_(0.5)
        if self.stop_at == state.epoch:
            state.stop()

    def on_fit_end(self, state: Any) -> None:
        self.calls.append("fit_end")


def with_callbacks(folder: Path | None) -> list[Any]:
    split = train_val_split(images(30), val=10)
    loaders = make_loaders(split, 8, device="cpu")
    results: list[Any] = []
    for stop_at in (2, 0):
        notes = Notes(loaders.val, stop_at=stop_at)
        result = trained(net(), loaders.train, loaders.val, epochs=4, callbacks=[notes])
        results.append((result, notes.calls, notes.steps))
    early = train.EarlyStopping(1, min_delta=9)
    own = [] if folder is None else [train.CSVLogger(folder / f"{os.getpid()}.csv")]
    said, warned = io.StringIO(), []
    with contextlib.redirect_stdout(said), warnings.catch_warnings(record=True) as warned:  # noqa: F811
        warnings.filterwarnings("always", category=CnnkitWarning) if distributed.is_main() else None
        history = train.fit(
            nn.Sequential(net(), nn.Softmax(1)), loaders.train, loaders.val,
            epochs=4, callbacks=[early, *own],
        )  # fmt: skip
    return [
        *results,
        len(history),
        history.stop_reason,
        said.getvalue(),
        [str(w.message) for w in warned],
    ]


def test_the_main_process_alone_calls_back_and_speaks(tmp_path: Path) -> None:
    main, other = on_processes(2, with_callbacks, tmp_path)
    alone = with_callbacks(None)
    for (result, calls, steps), (theirs, no_calls, no_steps), (expected, *as_main) in zip(
        main[:2], other[:2], alone[:2], strict=True
    ):
        assert (calls, steps) == tuple(as_main)
        assert (no_calls, no_steps) == ([], 0)
        for one in (result, theirs):
            assert_alike(expected[0].to_dict(), one[0].to_dict(), "history")
            assert_alike(expected[1], one[1], "weights")
    assert main[0][0][0].rows[0]["samples"] == 10, "evaluated in a callback, over all samples"
    assert main[1][1] == ["fit_start", "fit_end"]
    assert main[2:4] == other[2:4] == [2, "early"]
    assert main[4].count("epoch") == 2
    assert sum("probabilities already" in text for text in main[5]) == 1
    assert other[4:] == ["", []]
    (written,) = tmp_path.iterdir()
    assert len(written.read_text().splitlines()) == 3


class Normalised(nn.Module):
    """With buffers and dropout: all that a checkpoint must hold of each process."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
            nn.Linear(4 * 36, 8), nn.BatchNorm1d(8), nn.Linear(8, 2),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)  # type: ignore[no-any-return]


def normalised() -> list[Any]:
    """With validation and without, each as it is after a last batch of three."""
    loader = make_loader(images(27), 8, shuffle=True, device="cpu")
    return [trained(Normalised(), loader, val, seed=None) for val in (None, loader)]


def test_batch_normalisation_is_the_same_on_all_and_never_given_one_sample() -> None:
    first, second = on_processes(2, normalised)
    for one, other in zip(first, second, strict=True):
        assert one[2] == other[2]
        for name, value in one[1].items():
            assert torch.equal(value, other[1][name]), name
    assert first[1][0].best["val_loss"] == pytest.approx(first[1][2]["loss"])
    with pytest.raises(ArgumentError, match="sync_batchnorm=True works on CUDA, which cpu is not"):  # noqa: PT012
        for raised, text in outcomes_of(2, synchronised):
            assert raised
            raise ArgumentError(text)


def synchronised() -> None:
    train.fit(Normalised(), make_loader(images(9), 8, device="cpu"), epochs=1, sync_batchnorm=True)


class AskedElsewhere(nn.Module):
    """Asks one process to end within a forward pass, which no callback of another one can."""

    def __init__(self, rank: int, after: int) -> None:
        super().__init__()
        self.inner, self.rank, self.left = Normalised(), rank, after

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.left -= 1
            if self.left == 0 and distributed.rank() == self.rank:
                os.kill(os.getpid(), signal.SIGTERM)
        return self.inner(images)  # type: ignore[no-any-return]


def interrupted_run(folder: Path, rank: int | None, after: int) -> tuple[Any, Weights, int]:
    split = train_val_split(images(45), val=12)
    loaders = make_loaders(split, 8, augment=[augment.RandomTranslate(1)], device="cpu")
    model = AskedElsewhere(-1 if rank is None else rank, after)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)
        history = train.fit(
            model, loaders.train, loaders.val, epochs=3, lr=0.1, optimizer="adam", progress=False,
            checkpoint_dir=folder, checkpoint_every=2, resume="auto", scheduler="cosine",
            callbacks=train.EarlyStopping(5),
        )  # fmt: skip
    for row in history.rows:
        row.pop("seconds")
    steps = sum(parameter.numel() for parameter in model.parameters())
    return history.to_dict(), {k: v.clone() for k, v in model.state_dict().items()}, steps


def interrupted_and_resumed(folder: Path) -> list[Any]:
    results = [interrupted_run(folder / "whole", None, 0)]
    for name, rank in (("by the main one", 0), ("by another", 1)):
        results += [interrupted_run(folder / name, rank, 7)]
        results += [interrupted_run(folder / name, None, 0)]
    return results


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    results = on_processes(2, interrupted_and_resumed, tmp_path)
    for (whole, weights, _), *others in results:
        assert whole["stop_reason"] == "finished"
        for (cut, _, _), (resumed, theirs, _) in zip(others[::2], others[1::2], strict=True):
            assert cut["stop_reason"] == "terminated"
            assert resumed == whole
            assert all(torch.equal(weights[name], value) for name, value in theirs.items())
    for (_, one, _), (_, other, _) in zip(*results, strict=True):
        assert all(torch.equal(one[name], value) for name, value in other.items())
    with pytest.raises(ArgumentError, match="processes was 2, is 1"):
        interrupted_run(tmp_path / "whole", None, 0)


class Broken(nn.Module):
    """Raises in one process, in its third step."""

    def __init__(self, rank: int, error: BaseException) -> None:
        super().__init__()
        self.inner, self.rank, self.error, self.calls = net(), rank, error, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 3 and distributed.rank() == self.rank:
            raise self.error
        return self.inner(images)  # type: ignore[no-any-return]


class Raises(Callback):
    def on_epoch_end(self, state: Any) -> None:
        raise KeyError("in a callback")


def broken_run(rank: int, error: BaseException, *callbacks: Callback) -> None:
    distributed._PATIENCE = 0.1  # there is no launcher that would end it
    loader = make_loader(images(24), 4, device="cpu")
    model = Broken(rank, error)
    train.fit(model, loader, epochs=3, lr=0.01, progress=False, callbacks=callbacks)


@pytest.mark.parametrize(
    ("rank", "error", "callbacks", "message"),
    [
        (1, RuntimeError("a shape"), (), "RuntimeError: a shape"),
        (0, MemoryError(), (), "TrainingError: cpu has no memory left in epoch 1, batch 3"),
        (0, SystemExit(3), (), "SystemExit: 3"),
        (-1, OSError(), (Raises(),), "KeyError: 'in a callback'"),
    ],
)
def test_an_error_in_one_process_is_its_own_and_ends_the_others(
    rank: int, error: BaseException, callbacks: tuple[Callback, ...], message: str
) -> None:
    outcomes = outcomes_of(2, broken_run, rank, error, *callbacks)
    failed = max(rank, 0)
    assert outcomes[failed][0]
    assert message in outcomes[failed][1]
    raised, text = outcomes[1 - failed]
    assert raised
    assert f"process {1 - failed} of 2 lost the others: one of them has ended" in text


class UnsoundOnOne(nn.Module):
    """A loss that is infinite in one process, in its fourth step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.calls = net(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += self.training
        bad = self.calls == 4 and distributed.rank() == 1
        return self.inner(images) * (float("inf") if bad else 1)  # type: ignore[no-any-return]


def unsound_and_unwritable(folder: Path) -> list[Any]:
    loader = make_loader(images(24), 4, device="cpu")
    model, warned = UnsoundOnOne(), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    distributed.same_on_all(before.values())
    with warnings.catch_warnings(record=True) as warned:  # noqa: F811
        warnings.filterwarnings("always", category=CnnkitWarning)
        history = train.fit(model, loader, epochs=2, lr=0.01, progress=False)
    back = all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    # What the run leaves behind does not disturb other training.
    model.calls = 10
    loss = model(torch.rand(3, 1, 8, 8)).sum()
    loss.backward()
    again = trained(model, loader)[0]
    folder.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)
        full = train.fit(
            net(), loader, epochs=2, lr=0.01, progress=False, checkpoint_dir=folder,
            checkpoint_every=2, on_checkpoint_error="stop", callbacks=Unwritable(folder),
        )  # fmt: skip
    return [
        history.stop_reason, [str(w.message) for w in warned], str(history.rows[0]["train_loss"]),
        back, again.stop_reason, full.stop_reason, len(full),
    ]  # fmt: skip


class Unwritable(Callback):
    """Takes the folder of the checkpoints away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_step_end(self, state: Any) -> None:
        if state.step == 1:
            self.folder.rmdir()
            self.folder.write_text("a file")


def test_what_ends_one_ends_all(tmp_path: Path) -> None:
    main, other = on_processes(2, unsound_and_unwritable, tmp_path / "c")
    assert main[1:2] + other[1:2] == [main[1], []]
    (message,) = main.pop(1)
    assert not other.pop(1)
    assert main == other
    assert main == ["nan", main[1], True, "finished", "not_saved", 0]
    assert main[1] in ("inf", "nan")
    assert f"the loss became {main[1]} in epoch 1, batch 4" in message


def searches(folder: Path) -> list[Any]:
    ds = images(40)
    loader = make_loader(ds, 9, shuffle=True, device="cpu")
    curve = train.find_lr(net(), loader, steps=12, progress=False)

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    said = io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)
        result = train.cross_validate(
            build, ds, k=3, batch_size=9, epochs=2, lr=0.1, device="cpu", out_dir=folder
        )
    figures = [
        row[name]
        for history in result.histories
        for row in history.rows
        for name in ("train_loss", "val_loss")
    ]
    return [
        curve.lrs,
        curve.losses,
        curve.suggestion,
        figures,
        result.report.to_dict(),
        said.getvalue(),
    ]


def test_searches_are_those_of_one_process(tmp_path: Path) -> None:
    alone = searches(tmp_path / "alone")
    results = on_processes(2, searches, tmp_path / "together")
    assert results[0][:-1] == results[1][:-1]
    assert_alike(alone[:-1], results[0][:-1], "two processes")
    assert results[0][-1].count("fold 1 of 3\n") == 1
    assert results[1][-1] == ""
    names = [sorted(p.name for p in (tmp_path / f).rglob("*")) for f in ("alone", "together")]
    assert names[0] == names[1]
