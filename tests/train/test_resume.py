"""A run that was killed and goes on ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler
from training_runs import C, Result, dataset, files, loaders, network, train

from cnnkit.data import ImageFolder, make_loader
from cnnkit.errors import CnnkitWarning
from cnnkit.models import TwoLayerCNN
from cnnkit.train import Callback, TrainState, evaluate, fit
from cnnkit.train._checkpoint import CheckpointFolder

pytestmark = [
    # Data of noise: what `fit` says of it is tested in test_watch.py.
    pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning"),
    # Python 3.12 and later: the one other thread is torch's, which is idle.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed"),
]

EVERYTHING: dict[str, Any] = {"accumulate": 2, "checkpoint_every": 1, "epochs": 3}


def in_a_child(work: Callable[[], object], kill_after: float | None = None) -> int:
    """The status of a process that does this work, and is perhaps killed after so many seconds."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # torch's workers end with their parent, but not one that it left before they looked whose they
    # are: it would wait for ever, and whoever reads the output of pytest with it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status


def run(folder: Path | None, resume: Any = "auto", **options: Any) -> Result:
    """Dropout, augmentation, momentum, one cycle, accumulation and two workers."""
    data = loaders(workers=2)
    return train(folder, data=data, resume=resume if folder else False, **{**EVERYTHING, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The uninterrupted run."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(tmp_path_factory.mktemp("whole"))


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kill", range(3))
def test_killed_at_any_moment(tmp_path: Path, whole: Result, kill: int) -> None:
    started = time.perf_counter()
    assert in_a_child(lambda: run(tmp_path / "measured")) == 0
    seconds = time.perf_counter() - started
    moments = random.Random(time.time_ns())
    for _ in range(2):  # and the run that goes on is killed as well
        status = in_a_child(lambda: run(tmp_path / "run"), moments.uniform(0.05, 0.8) * seconds)
        assert status in (-signal.SIGKILL, 0)
    written = files(tmp_path / "run") if (tmp_path / "run").is_dir() else []
    at = written[-1] if written else "before the first checkpoint"
    model = network()
    resumed = run(tmp_path / "run", model=model)
    assert resumed.same(whole), f"{kill}: killed at {at}"
    reports = [evaluate(one, loaders().val).to_dict() for one in (model, whole.model)]
    assert reports[0] == reports[1]


def while_writing(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Killed when a part of the numbered checkpoint is on the disk."""

    def arm(patch: pytest.MonkeyPatch) -> None:
        original, writes = torch.save, iter(range(1, 999))

        def save(parts: Any, stream: Any) -> None:
            if next(writes) == number:
                stream.write(b"PK" * 500)
                stream.flush()
                die()
            original(parts, stream)

        patch.setattr(torch, "save", save)

    return arm


def before_old_ones_go(patch: pytest.MonkeyPatch) -> None:
    original = CheckpointFolder._prune

    def prune(self: CheckpointFolder, best: int | None) -> None:
        if len(list(self)) > 2:
            die()
        original(self, best)

    patch.setattr(CheckpointFolder, "_prune", prune)


def in_the_validation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TwoLayerCNN, "eval", die)


def in_an_optimiser_step(patch: pytest.MonkeyPatch) -> None:
    original, steps = torch.optim.SGD.step, iter(range(1, 999))

    def step(self: torch.optim.SGD, closure: Any = None) -> Any:
        if next(steps) == 6:
            with torch.no_grad():
                self.param_groups[0]["params"][0].zero_()  # half of the step is done
            die()
        return original(self, closure)

    patch.setattr(torch.optim.SGD, "step", step)


@pytest.mark.parametrize(
    "arm",
    [while_writing(1), while_writing(5), before_old_ones_go, in_the_validation,
     in_an_optimiser_step],
    ids=["first write", "later write", "before old ones go", "validation", "step"],
)  # fmt: skip
def test_killed_at_the_worst_moment(
    tmp_path: Path, whole: Result, arm: Callable[[pytest.MonkeyPatch], None]
) -> None:
    def doomed() -> None:
        arm(pytest.MonkeyPatch())
        run(tmp_path)

    assert in_a_child(doomed) == -signal.SIGKILL
    assert run(tmp_path).same(whole)
    assert not [name for name in files(tmp_path) if name.endswith(".tmp")]


# --- cut at a step, in this process --------------------------------------------------------------


class CutAt(Callback):
    """Ends a run at an optimiser step as a crash would: nothing more is written."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, state: TrainState) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt


def cut_and_resumed(folder: Path, make: Callable[[], Any], *cuts: int, **options: Any) -> Result:
    """A run that crashes at these steps, each time in a process that knows nothing of it."""
    for number, cut in enumerate(cuts):
        with pytest.raises(KeyboardInterrupt):
            train(folder, data=make(), resume=number > 0, callbacks=CutAt(cut), **options)
    _ = torch.rand(3), random.random(), np.random.rand()  # whatever is drawn meanwhile
    return train(folder, data=make(), resume=True, callbacks=CutAt(None), **options)


@pytest.mark.parametrize("cuts", [(2,), (3, 9), (7,), (8, 14, 15)])
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_cut_at_steps(tmp_path: Path, cuts: tuple[int, ...], optimizer: Any) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "checkpoint_every": 1, "clip_norm": 0.5}
    expected = train(data=loaders(), callbacks=CutAt(None),
                     **{**options, "checkpoint_every": None})  # fmt: skip
    assert cut_and_resumed(tmp_path, loaders, *cuts, **options).same(expected)


def test_an_optimiser_that_was_not_fused_goes_on_with_a_warning(tmp_path: Path) -> None:
    train(tmp_path, data=loaders(), optimizer=torch.optim.Adam, epochs=1, scheduler=None)
    with pytest.warns(CnnkitWarning, match="goes on elsewhere.*fused was False, is True"):
        train(tmp_path, data=loaders(), optimizer="adam", epochs=2, scheduler=None, resume=True)


@pytest.mark.parametrize(
    ("name", "make"), [("sgd", torch.optim.SGD), ("rmsprop", torch.optim.RMSprop)]
)
def test_by_name_or_by_class_goes_on_alike(tmp_path: Path, name: Any, make: Any) -> None:
    """A name says torch how to compute, which is no setting of the run."""
    options: dict[str, Any] = {"lr": 0.01, "scheduler": None}
    expected = train(data=loaders(), optimizer=name, epochs=2, **options)
    train(tmp_path, data=loaders(), optimizer=make, epochs=1, **options)
    resumed = train(tmp_path, data=loaders(), optimizer=name, epochs=2, resume=True, **options)
    assert resumed.same(expected)


def test_from_the_last_checkpoint_where_the_newest_step_was_not_written(tmp_path: Path) -> None:
    expected = train(data=loaders(), callbacks=CutAt(None))
    assert cut_and_resumed(tmp_path / "a", loaders, 6, 12, checkpoint_every=4).same(expected)
    assert cut_and_resumed(tmp_path / "b", loaders, 9, 17).same(expected), "each epoch"


@pytest.mark.parametrize("scheduler", ["cosine", "step", "plateau", None])
def test_every_schedule_goes_on(tmp_path: Path, scheduler: Any) -> None:
    options = {"scheduler": scheduler, "epochs": 4}
    expected = train(data=loaders(), callbacks=CutAt(None), **options)
    resumed = cut_and_resumed(tmp_path, loaders, 5, 16, checkpoint_every=1, **options)
    assert resumed.same(expected)
    assert resumed.history.column("lr") == expected.history.column("lr")


def test_a_row_before_training_is_not_made_twice(tmp_path: Path) -> None:
    expected = train(data=loaders(), callbacks=CutAt(None), evaluate_first=True)
    resumed = cut_and_resumed(tmp_path, loaders, 4, checkpoint_every=1, evaluate_first=True)
    assert resumed.same(expected)
    assert [row["epoch"] for row in resumed.rows] == [0, 1, 2, 3]


@pytest.mark.parametrize("weight", [True, False])
def test_batches_that_weigh_nothing_count_as_batches(tmp_path: Path, weight: bool) -> None:
    weights = torch.tensor([0.0, 1.0, 2.0])
    left_out: dict[str, Any] = {"weight": weights} if weight else {"ignore_index": 0}
    loss = nn.CrossEntropyLoss(**left_out)

    def make() -> Any:
        return loaders(2)  # some batches have nothing but the class that is left out

    expected = train(data=make(), loss=loss, callbacks=CutAt(None))
    assert cut_and_resumed(tmp_path, make, 11, 40, checkpoint_every=1, loss=loss).same(expected)


def test_a_loss_with_weights_of_its_own(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            self.calls += 1
            return nn.functional.cross_entropy(logits, labels) / self.calls

    def options(loss: nn.Module) -> dict[str, Any]:
        return {"loss": loss, "epochs": 2, "scheduler": None}

    whole, first, second = Scaled(), Scaled(), Scaled()
    expected = train(data=loaders(), **options(whole))
    train(tmp_path, data=loaders(), **{**options(first), "epochs": 1})
    assert train(tmp_path, data=loaders(), resume=True, **options(second)).same(expected)
    assert second.calls == whole.calls


# --- other loaders -------------------------------------------------------------------------------


class Drawing(Dataset[Any]):
    """A transform that draws from torch's, Python's and numpy's global generators, or its own."""

    def __init__(self, own: Any = None) -> None:
        self.ds, self.own = dataset(), own

    def __len__(self) -> int:
        return len(self.ds)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.ds[index]
        drawn = torch.rand(()) + random.random() + float(np.random.rand())
        if isinstance(self.own, torch.Generator):
            drawn += torch.rand((), generator=self.own)
        elif self.own is not None:
            drawn += float(self.own.random())
        return image.float() / 255 + drawn, torch.as_tensor(label)


class Pair:
    """A train and a validation loader."""

    def __init__(self, train: Any, val: Any = None) -> None:
        self.train, self.val = train, val


def seeded() -> None:
    random.seed(5)
    np.random.seed(5)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cuts", [(4,), (9,), (8, 20)])
def test_a_foreign_loader_with_transforms_that_draw(
    tmp_path: Path, workers: int, cuts: tuple[int, ...]
) -> None:
    def make() -> Pair:
        seeded()
        train = DataLoader(Drawing(), 8, shuffle=True, num_workers=workers)
        return Pair(train, DataLoader(Drawing(), 8, num_workers=workers))

    options: dict[str, Any] = {"epochs": 3, "evaluate_first": True}
    expected = train(data=make(), callbacks=CutAt(None), **options)
    assert cut_and_resumed(tmp_path, make, *cuts, checkpoint_every=1, **options).same(expected)


@pytest.mark.parametrize(
    "own",
    [
        lambda: torch.Generator().manual_seed(1),
        lambda: np.random.default_rng(1),
        lambda: np.random.Generator(np.random.MT19937(1)),
        lambda: np.random.RandomState(1),
        lambda: random.Random(1),
    ],
    ids=["torch", "pcg", "mersenne", "legacy", "python"],
)
def test_a_transform_with_a_generator_of_its_own(tmp_path: Path, own: Callable[[], Any]) -> None:
    def make() -> Pair:
        seeded()
        return Pair(DataLoader(Drawing(own()), 8, shuffle=True), DataLoader(Drawing(own()), 8))

    expected = train(data=make(), callbacks=CutAt(None))
    assert cut_and_resumed(tmp_path, make, 5, 13, checkpoint_every=1).same(expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["generator", "sampler", "weighted"])
def test_a_foreign_order_with_a_generator_of_its_own(
    tmp_path: Path, workers: int, kind: str
) -> None:
    """It has moved on with every epoch, and a new process makes it afresh."""

    def make() -> Pair:
        generator = torch.Generator().manual_seed(2)
        ds: Any = dataset()  # a sequence of samples is all that a DataLoader asks for
        options: dict[str, Any] = {"shuffle": True, "generator": generator}
        if kind == "sampler":
            options = {"sampler": RandomSampler(ds, generator=generator)}
        elif kind == "weighted":
            weights = torch.rand(len(ds), generator=generator).tolist()
            options = {"sampler": WeightedRandomSampler(weights, 40, generator=generator)}
        return Pair(DataLoader(ds, 8, num_workers=workers, **options))

    expected = train(data=make(), callbacks=CutAt(None))
    assert cut_and_resumed(tmp_path, make, 7, 12, checkpoint_every=1).same(expected)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_our_loader_with_a_random_transform(
    tmp_path: Path, workers: int, folder: ImageFolder
) -> None:
    """In a worker what it draws follows from the batch's place in the run."""

    def make() -> Pair:
        seeded()
        return Pair(
            make_loader(folder, 5, shuffle=True, device="cpu", cache="off", num_workers=workers)
        )

    def net() -> TwoLayerCNN:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return TwoLayerCNN(2, in_channels=3, image_size=8)

    expected = train(None, net(), make(), callbacks=CutAt(None))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, net(), make(), checkpoint_every=1, callbacks=CutAt(6))
    resumed = train(tmp_path, net(), make(), checkpoint_every=1, resume=True, callbacks=CutAt(None))
    assert resumed.same(expected)


def draw(image: Any) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return pixels + torch.rand(()) + random.random() + float(np.random.rand())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    from PIL import Image

    root, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(10):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return ImageFolder(root, transform=draw)


def test_a_random_transform_does_not_hang_on_the_number_of_workers(folder: ImageFolder) -> None:
    def pixels(workers: int) -> list[Tensor]:
        loader = make_loader(
            folder, 5, shuffle=True, device="cpu", num_workers=workers, cache="off"
        )
        return [images for _ in range(2) for images, _ in loader]

    one, two = pixels(1), pixels(2)
    assert all(map(torch.equal, one, two))
    assert len({images.sum().item() for images in two}) == len(two), "each batch draws others"


# --- what else has a state -----------------------------------------------------------------------


class Nosy(nn.Module):
    """A validation hook that draws random numbers, as one with test-time augmentation may."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits

    def validation_step(self, batch: Any) -> Any:
        noise = torch.rand(()) + random.random() + float(np.random.rand())
        return nn.functional.cross_entropy(self(batch[0]), batch[1]) + 0.01 * noise

    def validation_epoch_end(self, outputs: Any) -> dict[str, float]:
        return {"val_loss": torch.stack(outputs).mean().item()}


def nosy(folder: Path | None, cut: int | None = None, **options: Any) -> Result:
    seeded()
    return train(folder, Nosy(), loaders(), callbacks=CutAt(cut), **options)


def test_a_validation_that_draws(tmp_path: Path) -> None:
    expected = nosy(None)
    with pytest.raises(KeyboardInterrupt):
        nosy(tmp_path, 10, checkpoint_every=1)
    assert nosy(tmp_path, checkpoint_every=1, resume=True).same(expected)


def test_interrupted_in_the_validation(tmp_path: Path) -> None:
    """It goes on at the end of the epoch's training, with the random states from before."""
    expected = nosy(None)

    class Interrupted(Nosy):
        def validation_step(self, batch: Any) -> Any:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 3:  # in the second epoch, whose validation has two batches
                signal.raise_signal(signal.SIGINT)
            return super().validation_step(batch)

    Interrupted.__name__ = Interrupted.__qualname__ = "Nosy"
    seeded()
    cut = train(tmp_path, Interrupted(), loaders(), callbacks=CutAt(None))
    assert cut.history.stop_reason == "interrupted"
    assert len(cut.rows) == 1
    assert files(tmp_path) == ["epoch-0001.pt", "epoch-0002-batch-000007.pt"]
    assert nosy(tmp_path, resume=True).same(expected)


def test_interrupted_in_the_last_validation(tmp_path: Path) -> None:
    class Last(Callback):
        def on_step_end(self, state: TrainState) -> None:
            if state.step == 21:
                signal.raise_signal(signal.SIGTERM)

    Last.__qualname__ = "CutAt"
    expected = train(data=loaders(), callbacks=CutAt(None))
    cut = train(tmp_path, data=loaders(), callbacks=Last())
    assert (cut.history.stop_reason, len(cut.rows)) == ("terminated", 2)
    assert train(tmp_path, data=loaders(), callbacks=CutAt(None), resume=True).same(expected)


class Draws(Callback):
    """Draws at every moment, and says what it drew in an epoch."""

    def __init__(self, cut: int | None = None) -> None:
        self.cut, self.drawn = cut, 0.0

    def draw(self) -> None:
        self.drawn += torch.rand(()).item() + random.random()

    def on_fit_start(self, state: TrainState) -> None:
        if not state.epoch:
            self.draw()
        else:
            _ = torch.rand(7), random.random()  # of which nothing may be seen

    def on_epoch_start(self, state: TrainState) -> None:
        self.draw()

    def on_step_end(self, state: TrainState) -> None:
        self.draw()
        if state.step == self.cut:
            raise KeyboardInterrupt

    def on_epoch_end(self, state: TrainState) -> None:
        self.draw()
        state.row["drawn"] = self.drawn

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.drawn = saved["drawn"]


@pytest.mark.parametrize("cut", [3, 8, 15])
@pytest.mark.parametrize("foreign", [False, True])
def test_callbacks_that_draw_and_remember(tmp_path: Path, cut: int, foreign: bool) -> None:
    def make() -> Any:
        seeded()
        return Pair(DataLoader(Drawing(), 8, shuffle=True)) if foreign else loaders()

    expected = train(data=make(), callbacks=Draws())
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, data=make(), checkpoint_every=1, callbacks=Draws(cut))
    options: dict[str, Any] = {"checkpoint_every": 1, "resume": True}
    assert train(tmp_path, data=make(), callbacks=Draws(), **options).same(expected)


def test_resuming_leaves_no_trace_in_the_global_random_states(tmp_path: Path) -> None:
    def states() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())

    make = lambda: Pair(DataLoader(Drawing(), 8, shuffle=True))  # noqa: E731
    seeded()
    before = states()
    train(tmp_path, data=make(), epochs=1, scheduler=None)  # type: ignore[no-untyped-call]
    assert states() == before
    for epochs in (2, 2):  # trained, and then finished already
        train(tmp_path, data=make(), epochs=epochs, scheduler=None, resume=True)  # type: ignore[no-untyped-call]
        assert states() == before


def test_without_a_seed_the_states_go_on_where_they_were(tmp_path: Path) -> None:
    def after(**options: Any) -> tuple[Result, float]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            result = train(data=loaders(), seed=None, scheduler=None, **options)
            return result, torch.rand(()).item()

    expected = after(epochs=2)
    first, _ = after(folder=tmp_path, epochs=1)
    assert len(first.rows) == 1
    resumed = after(folder=tmp_path, epochs=2, resume=True)
    assert resumed[0].same(expected[0])
    assert resumed[1] == expected[1]


def test_seconds_are_those_of_the_training(tmp_path: Path) -> None:
    class Slow(CutAt):
        def on_step_end(self, state: TrainState) -> None:
            time.sleep(0.02)
            super().on_step_end(state)

    Slow.__qualname__ = "CutAt"
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, data=loaders(), epochs=1, checkpoint_every=1, callbacks=Slow(6))
    time.sleep(0.5)
    resumed = train(tmp_path, data=loaders(), epochs=1, checkpoint_every=1, resume=True,
                    callbacks=CutAt(None))  # fmt: skip
    assert resumed.history.rows[0]["seconds"] >= 0.1
    assert "seconds" not in resumed.rows[0]


def test_the_loop_of_a_user_with_a_generator_of_batches(tmp_path: Path) -> None:
    """Of an iterable without length or position the batches that were done are passed over."""

    class Stream:
        def __init__(self) -> None:
            self.epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            generator = torch.Generator().manual_seed(self.epoch)
            for _ in range(6):
                images = torch.rand(5, 1, 8, 8, generator=generator)
                yield images, torch.randint(0, C, (5,), generator=generator)

    def one(**options: Any) -> Any:
        model = network()
        fit(model, Stream(), epochs=3, lr=0.1, progress=False, **options)
        return Result(model, fit(model, Stream(), epochs=1, lr=0.0, progress=False))

    expected = one()
    with pytest.raises(KeyboardInterrupt):
        one(checkpoint_dir=tmp_path, checkpoint_every=1, callbacks=CutAt(9))
    resumed = one(checkpoint_dir=tmp_path, checkpoint_every=1, callbacks=CutAt(None), resume=True)
    assert resumed.same(expected)
