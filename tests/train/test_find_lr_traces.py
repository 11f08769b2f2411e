"""`find_lr` leaves no trace: training after it equals training without it, bit for bit."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, TensorDataset
from torchvision import transforms
from torchvision.datasets import FakeData

from cnnkit.data import ArrayDataset, augment, make_loader
from cnnkit.errors import ArgumentError
from cnnkit.train import find_lr, fit
from cnnkit.train._random import random_states
from cnnkit.types import Augmentation

LENGTH = 20


class Net(nn.Module):
    """Dropout draws, batch normalisation has buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4 * 4 * 4, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.conv(images)).relu()
        logits: Tensor = self.out(self.drop(x.flatten(1)))
        return logits


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()


def images() -> Tensor:
    return torch.randint(0, 256, (LENGTH, 1, 6, 6), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


LABELS = torch.arange(LENGTH) % 2


def ours(**more: Any) -> Any:
    augmentations: list[Augmentation] = [augment.RandomFlip(), augment.GaussianNoise(0.1)]
    ds = ArrayDataset(images(), LABELS)
    return make_loader(ds, 6, shuffle=True, augment=augmentations, device="cpu", **more)


def flipped() -> FakeData:
    """A data set of torchvision, whose transform draws where it is read."""
    tv: Any = transforms
    steps = tv.Compose([tv.Grayscale(), tv.RandomHorizontalFlip(), tv.ToTensor()])
    return FakeData(LENGTH, (3, 6, 6), num_classes=2, transform=steps)


def foreign(**more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(images(), LABELS), batch_size=6, **more)


class Jitters(Dataset[Any]):
    """Draws from Python's, numpy's and torch's global generators, and from its own three."""

    def __init__(self) -> None:
        self.images = images().float() / 255
        self.torch = torch.Generator().manual_seed(1)
        self.numpy: Any = {"one": [np.random.default_rng(2)], "two": np.random.RandomState(3)}
        own = random.Random(4)
        self.python: Callable[[], float] = lambda: own.random()

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [random.random(), np.random.rand(), float(torch.rand(()))]
        drawn += [float(torch.rand((), generator=self.torch)), self.python()]
        drawn += [self.numpy["one"][0].random(), self.numpy["two"].rand()]
        return self.images[index] + 0.1 * sum(drawn), int(LABELS[index])


class Shuffles(Sampler[int]):
    """Remembers its order in place, and which epoch it was told."""

    def __init__(self) -> None:
        self.order = list(range(LENGTH))
        self.random = random.Random(0)
        self.epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return LENGTH

    def __iter__(self) -> Iterator[int]:
        self.random.shuffle(self.order)
        return iter(list(self.order))


class Custom:
    """A loader by hand that counts its epochs and draws from a generator of its own."""

    def __init__(self) -> None:
        self.passes = 0
        self.generator = np.random.default_rng(0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        for part in self.generator.permutation(LENGTH).reshape(5, 4):
            yield images()[part].float() / (255 * self.passes), LABELS[part]


LOADERS: dict[str, Callable[[], Any]] = {
    "ours": ours,
    "ours, with workers": lambda: make_loader(
        flipped(), 6, shuffle=True, num_workers=1, device="cpu"
    ),
    "shuffled by the global generator": lambda: foreign(shuffle=True),
    "shuffled by its own generator": lambda: foreign(
        shuffle=True, generator=torch.Generator().manual_seed(5)
    ),
    "a sampler with a generator": lambda: foreign(
        sampler=RandomSampler(range(LENGTH), generator=torch.Generator().manual_seed(6))
    ),
    "a sampler that remembers": lambda: foreign(sampler=Shuffles()),
    "workers that stay": lambda: DataLoader(
        flipped(), batch_size=6, shuffle=True, num_workers=1, persistent_workers=True
    ),
    "a data set that draws": lambda: DataLoader(Jitters(), batch_size=6, shuffle=True),
    "by hand": Custom,
}


def seed_everything() -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)


@pytest.fixture(autouse=True)
def _own_random_states() -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


@pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")  # of so short a run
@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("after", [0, 1], ids=["at the beginning", "between two runs"])
def test_training_after_it_equals_training_without_it(name: str, after: int) -> None:
    ended = []
    for looks in (False, True):
        seed_everything()
        model, loader = net(), LOADERS[name]()
        # seed=None: dropout and order follow from the global generators as they stand.
        options: dict[str, Any] = {"optimizer": "adam", "seed": None, "progress": False}
        if after:
            fit(model, loader, epochs=after, **options)
        if looks:
            curve = find_lr(model, loader, optimizer="adam", steps=12, progress=False)
            assert len(curve.losses) > 5
        history = fit(model, loader, epochs=2, **options)
        losses = history.column("train_loss"), history.column("train_acc")
        ended.append((model.state_dict(), losses, plain(random_states(torch.device("cpu")))))
    (weights, losses, states), (other_weights, other_losses, other_states) = ended
    assert losses == other_losses
    assert states == other_states
    assert all(torch.equal(weights[key], other_weights[key]) for key in weights)


def plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_two_curves_are_equal_where_nothing_happened_between_them() -> None:
    for name in ("ours", "shuffled by its own generator", "a data set that draws"):
        loader, model = LOADERS[name](), net()
        curves = [find_lr(model, loader, steps=12, progress=False) for _ in range(2)]
        assert curves[0] == curves[1], name


def test_weights_buffers_gradients_mode_and_flags_stay() -> None:
    model = net()
    model.eval()
    model.norm.train()
    model.conv.weight.requires_grad_(False)
    model(images().float() / 255).sum().backward()
    parameters = dict(model.named_parameters())
    before = copy.deepcopy(model.state_dict())
    gradients: dict[str, Any] = {name: copy.deepcopy(p.grad) for name, p in parameters.items()}
    find_lr(model, ours(), steps=12, progress=False)
    now = dict(model.named_parameters())
    assert all(now[name] is parameter for name, parameter in parameters.items())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for name, parameter in now.items():
        was: Any = gradients[name]
        is_now: Any = parameter.grad
        assert is_now is was is None or torch.equal(is_now, was)
    assert [m.training for m in model.modules()] == [False, False, True, False, False]
    assert not model.conv.weight.requires_grad
    assert all(p.is_contiguous() for p in now.values())


def test_an_optimizer_that_has_stepped_and_its_scheduler_stay() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    fit(model, ours(), epochs=1, optimizer=optimizer, scheduler=scheduler, progress=False)
    states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    hooks = []
    optimizer.register_step_post_hook(lambda *_: hooks.append(1))
    find_lr(model, ours(), optimizer=optimizer, steps=12, progress=False)
    assert plain(optimizer.state_dict()["state"][0]) == plain(states[0]["state"][0])
    assert optimizer.state_dict()["param_groups"] == states[0]["param_groups"]
    assert scheduler.state_dict() == states[1]
    assert [p for group in optimizer.param_groups for p in group["params"]] == [*model.parameters()]


def test_the_trial_goes_on_with_the_state_of_the_optimizer() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    fresh = find_lr(model, ours(), optimizer=optimizer, steps=12, progress=False)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.full_like(parameter, 1e4)
    moving = find_lr(model, ours(), optimizer=optimizer, steps=12, progress=False)
    assert moving.losses != fresh.losses


def test_the_loader_stays_where_it_was() -> None:
    loader = ours()
    loader.set_epoch(4)
    before = dict(vars(loader))
    find_lr(net(), loader, steps=12, progress=False)
    assert vars(loader) == before
    assert loader.epoch == 4
    dataloader = foreign(sampler=Shuffles())
    find_lr(net(), dataloader, steps=12, progress=False)
    sampler: Any = dataloader.sampler
    assert (sampler.order, sampler.epoch) == (list(range(LENGTH)), -1)
    by_hand = Custom()
    find_lr(net(), by_hand, steps=12, progress=False)
    assert by_hand.passes == 0


def test_a_loss_that_is_a_module_stays() -> None:
    loss: Any = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    before = copy.deepcopy(loss.state_dict())
    find_lr(net(), ours(), loss=loss, steps=12, progress=False)
    assert loss.state_dict().keys() == before.keys()
    assert torch.equal(loss.weight, before["weight"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_where_it_is_broken_off(error: type[BaseException]) -> None:
    class Breaks(Net):
        def forward(self, images: Tensor) -> Tensor:
            if self.norm.num_batches_tracked == 4:
                raise error("enough")
            return super().forward(images)

    model, loader = Breaks(), LOADERS["shuffled by its own generator"]()
    before = random_states(torch.device("cpu")), loader.generator.get_state()
    with pytest.raises(error, match="enough"):
        find_lr(model, loader, progress=False)
    after = random_states(torch.device("cpu")), loader.generator.get_state()
    assert plain(before[0]) == plain(after[0])
    assert torch.equal(before[1], after[1])


def test_a_sampler_that_cannot_be_copied_is_refused() -> None:
    sampler: Any = Shuffles()
    sampler.lock = __import__("threading").Lock()
    with pytest.raises(ArgumentError, match=r"the Shuffles cannot be copied \(.*lock"):
        find_lr(net(), foreign(sampler=sampler), progress=False)


def test_data_sets_are_not_copied() -> None:
    class Once(TensorDataset):
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("copied")

    ds = Once(images(), LABELS)
    loader = DataLoader(ds, batch_size=6, sampler=RandomSampler(ds))
    assert len(find_lr(net(), loader, steps=12, progress=False).lrs) > 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_card_is_left_as_it_was(precision: Any) -> None:
    device = torch.device("cuda:0")
    model, loader = (
        net(),
        make_loader(ArrayDataset(images(), LABELS), 6, shuffle=True, device=device),
    )
    before, weights = random_states(device), copy.deepcopy(model.state_dict())
    curve = find_lr(model, loader, steps=12, precision=precision, progress=False)
    assert len(curve.losses) > 5
    assert plain(random_states(device)) == plain(before)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert next(model.parameters()).device.type == "cpu"
