"""Precision, memory format and compiling: what they do inside a run, and that they end with it."""

from __future__ import annotations

import copy
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from training_runs import Result, dataset, equal, loaders, network, train, weights

from cnnkit._saved import load_saved
from cnnkit.errors import ArgumentError
from cnnkit.models import LeNetVariant
from cnnkit.train import Callback, TrainState, evaluate, fit
from cnnkit.train import _tune as tuning
from cnnkit.train._compute import Compute, by_rule, resolve_precision

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

CPU = torch.device("cpu")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def batches(n: int = 30, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return list(zip(images.split(8), labels.split(8), strict=True))


class Net(nn.Module):
    """Three convolutions, one of them with a kernel of 1, whose two formats look alike."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 1)
            self.c, self.norm = nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6)
            self.out = nn.Linear(6 * 16, 3)
        self.seen: list[tuple[Any, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm(self.c(F.relu(self.b(F.relu(self.a(images)))))))
        logits: Tensor = self.out(x.flatten(1))
        last = images.is_contiguous(memory_format=torch.channels_last)
        weight = self.a.weight.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((self.training, logits.dtype, last, weight))
        return logits


# --- precision -----------------------------------------------------------------------------------


def test_bf16_is_the_hand_written_loop_with_the_loss_in_fp32() -> None:
    ours, theirs, given = Net(), Net(), batches()
    history = fit(ours, given, given, epochs=2, lr=0.1, optimizer="momentum", precision="bf16",
                  memory_format="contiguous", restore_best=False, progress=False)  # fmt: skip
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, nesterov=True, fused=True)
    for epoch in range(2):
        theirs.train()
        total = 0.0
        for images, labels in given:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = theirs(images)
            assert logits.dtype == torch.bfloat16
            loss = F.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        assert history.rows[epoch]["train_loss"] == pytest.approx(total / 30, rel=1e-12)
        theirs.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = torch.cat([theirs(images) for images, _ in given]).float()
        labels = torch.cat([labels for _, labels in given])
        assert history.rows[epoch]["val_loss"] == pytest.approx(
            F.cross_entropy(logits, labels).item(), rel=1e-6
        )
        assert history.rows[epoch]["val_acc"] == (logits.argmax(1) == labels).sum().item() / 30
    assert equal(weights(ours), weights(theirs))
    assert all(p.dtype == torch.float32 for p in ours.parameters()), "the weights stay in fp32"
    assert {dtype for _, dtype, *_ in ours.seen} == {torch.bfloat16}
    assert not torch.is_autocast_enabled("cpu")


def test_a_loss_module_sees_fp32_logits() -> None:
    seen: list[torch.dtype] = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        seen.append(logits.dtype)
        return F.cross_entropy(logits, labels)

    fit(Net(), batches(), batches(), epochs=1, precision="bf16", loss=loss, progress=False)
    assert set(seen) == {torch.float32}


def test_hooks_run_under_autocast_too() -> None:
    class Hooked(Net):
        def training_step(self, batch: Any) -> Any:
            logits = self(batch[0])
            return F.cross_entropy(logits, batch[1]), logits

        def validation_step(self, batch: Any) -> dict[str, Tensor]:
            return {"val_loss": F.cross_entropy(self(batch[0]), batch[1])}

        def validation_epoch_end(self, outputs: Any) -> dict[str, float]:
            return {"val_loss": torch.stack([x["val_loss"] for x in outputs]).mean().item()}

    model = Hooked()
    row = fit(model, batches(), batches(), epochs=1, precision="bf16", progress=False).rows[0]
    assert {dtype for _, dtype, *_ in model.seen} == {torch.bfloat16}
    plain = fit(Net(), batches(), batches(), epochs=1, precision="bf16", progress=False).rows[0]
    assert row["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5), "the loss is in fp32"


def test_a_bf16_run_is_resumed_exactly(tmp_path: Path) -> None:
    whole = train(precision="bf16", epochs=3, scheduler=None)
    train(tmp_path, precision="bf16", epochs=1, scheduler=None)
    assert train(tmp_path, precision="bf16", epochs=3, scheduler=None, resume=True).same(whole)


def test_fp16_is_refused_where_it_is_not_meant() -> None:
    with pytest.raises(ArgumentError, match=r'fp16" is for CUDA cards.*not for cpu: use "bf16"'):
        fit(Net(), batches(), epochs=1, precision="fp16", progress=False)
    with pytest.raises(ArgumentError, match=r"'fp32', 'bf16', 'fp16', 'auto'.*received 'half'"):
        fit(Net(), batches(), epochs=1, precision="half", progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_is_a_rule_of_the_device(monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    cuda = torch.device("cuda", 0)
    assert resolve_precision("auto", cuda) == ("bf16" if has_bf16 else "fp16")
    assert resolve_precision("auto", CPU) == "fp32"
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    assert resolve_precision("fp16", cuda) == "fp16"
    assert resolve_precision("bf16", CPU) == "bf16"
    if not has_bf16:
        with pytest.raises(ArgumentError, match=r"cuda:0 has no bfloat16: use precision=.fp16"):
            resolve_precision("bf16", cuda)
    assert Compute(cuda, precision="bf16").scaler is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no CUDA here
        assert Compute(cuda, precision="fp16").scaler is not None


# --- memory format -------------------------------------------------------------------------------


def test_the_rule_of_the_memory_format() -> None:
    small, large = Net(), LeNetVariant(2, image_size=120)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    one_dimension = nn.Sequential(nn.Conv1d(3, 4, 3))
    edge = [nn.Sequential(nn.Conv2d(3, 4, (3, size))) for size in (11, 12)]
    assert by_rule(small, CPU, "fp32") == "channels_last"
    assert by_rule(small, CPU, "bf16") == "channels_last"
    assert by_rule(large, CPU, "fp32") == "contiguous", "20 times slower otherwise"
    assert by_rule(linear, CPU, "fp32") == by_rule(one_dimension, CPU, "fp32") == "contiguous"
    assert [by_rule(one, CPU, "fp32") for one in edge] == ["channels_last", "contiguous"]
    cuda, mps = torch.device("cuda"), torch.device("mps")
    assert by_rule(small, cuda, "fp32") == by_rule(small, mps, "fp32") == "contiguous"
    assert by_rule(small, cuda, "bf16") == by_rule(small, cuda, "fp16") == "channels_last"


@pytest.mark.parametrize("own", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("choice", "inside"),
    [("auto", True), ("channels_last", True), ("contiguous", False)],
)
def test_the_model_has_its_own_format_back(own: str, choice: Any, inside: bool) -> None:
    model = Net()
    model.a.to(memory_format=FORMATS[own])
    before = {name: tensor.stride() for name, tensor in model.state_dict().items()}
    identity = [id(p) for p in model.parameters()]
    fit(model, batches(), batches(), epochs=2, lr=0.1, memory_format=choice, progress=False)
    assert {(last, weight) for _, _, last, weight in model.seen} == {(inside, inside)}
    assert {training for training, *_ in model.seen} == {True, False}, "in the validation too"
    assert {name: tensor.stride() for name, tensor in model.state_dict().items()} == before
    assert [id(p) for p in model.parameters()] == identity


def test_the_format_is_back_after_an_error() -> None:
    class Broken(Callback):
        def on_step_end(self, state: TrainState) -> None:
            assert isinstance(state.model, Net)
            assert state.model.a.weight.is_contiguous(memory_format=torch.channels_last)
            raise ZeroDivisionError

    model = Net()
    with pytest.raises(ZeroDivisionError):
        fit(model, batches(), epochs=1, callbacks=Broken(), progress=False)
    assert model.a.weight.is_contiguous()


def test_both_formats_train_alike() -> None:
    one, other = Net(), Net()
    fit(one, batches(), epochs=2, lr=0.1, memory_format="contiguous", progress=False)
    fit(other, batches(), epochs=2, lr=0.1, memory_format="channels_last", progress=False)
    for name, tensor in weights(one).items():
        assert torch.allclose(tensor, weights(other)[name], atol=1e-5)


def test_flat_features_have_no_format() -> None:
    flat = [(x.flatten(1), y) for x, y in batches()]
    model = nn.Sequential(nn.Linear(192, 3))
    assert len(fit(model, flat, epochs=1, memory_format="channels_last", progress=False)) == 1


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"memory_format must be one of .*'tune'.*'fast'"):
        fit(Net(), batches(), epochs=1, memory_format="fast", progress=False)  # type: ignore[arg-type]


# --- timing the two ------------------------------------------------------------------------------


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let channels_last, or what the list says, be the faster one."""
    faster = ["channels_last"]
    original = tuning._timed

    def fake(step: Any, batch: Any, compute: Compute) -> float:
        original(step, batch, compute)
        return 1.0 if compute.memory_format == faster[0] else 2.0

    monkeypatch.setattr(tuning, "_timed", fake)
    return faster


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())


@pytest.mark.parametrize("fastest", ["contiguous", "channels_last"])
def test_tune_trains_as_if_it_had_been_named(timed: list[str], fastest: Any) -> None:
    timed[0] = fastest
    named = train(memory_format=fastest)
    before = states()
    assert train(memory_format="tune").same(named)
    assert states() == before


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize("own_generator", [True, False])
def test_tune_leaves_no_trace_in_a_foreign_loader(own_generator: bool) -> None:
    def foreign() -> DataLoader[Any]:
        ds = dataset()
        samples = TensorDataset(ds.images.float(), ds.labels)
        generator = torch.Generator().manual_seed(4) if own_generator else None
        return DataLoader(samples, 7, shuffle=True, generator=generator)

    def run(memory_format: Any) -> dict[str, Tensor]:
        model = network()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(9)
            fit(model, foreign(), epochs=2, lr=0.1, seed=None, memory_format=memory_format,
                progress=False)  # fmt: skip
        return weights(model)

    assert equal(run("tune"), run("channels_last"))


def test_tune_does_not_try_what_is_known_to_be_many_times_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def timed(*_: Any) -> float:
        raise AssertionError("a step of the LeNet variant takes half a minute in channels_last")

    monkeypatch.setattr(tuning, "_timed", timed)
    few = [(torch.randn(2, 3, 116, 116), torch.tensor([0, 1]))]
    fit(LeNetVariant(2, image_size=116), few, epochs=1, memory_format="tune", progress=False)
    with pytest.raises(AssertionError, match="half a minute"):
        fit(Net(), batches(), epochs=1, memory_format="tune", progress=False)


def test_tune_touches_neither_gradients_nor_buffers(timed: list[str]) -> None:
    timed[0] = "contiguous"
    model = Net()
    seen: list[tuple[Any, ...]] = []

    class Look(Callback):
        def on_fit_start(self, state: TrainState) -> None:
            seen.append((copy.deepcopy(weights(state.model)), len(model.seen)))
            assert all(p.grad is None for p in state.model.parameters())

    fit(model, batches(), epochs=1, memory_format="tune", callbacks=Look(), progress=False)
    assert equal(seen[0][0], weights(Net())), "batch normalisation has counted nothing"
    assert seen[0][1] == 0, "a copy was timed"


def test_the_choice_is_in_the_checkpoint_and_is_kept(tmp_path: Path, timed: list[str]) -> None:
    whole = train(epochs=3, memory_format="tune", scheduler=None)
    train(tmp_path, epochs=1, memory_format="tune", scheduler=None)
    saved = load_saved(tmp_path / "epoch-0001.pt", "checkpoint", 1)
    assert saved["memory_format"] == "channels_last"
    timed[0] = "contiguous"  # as a busier machine might find
    resumed = train(tmp_path, epochs=3, memory_format="tune", scheduler=None, resume=True)
    assert resumed.same(whole)
    saved = load_saved(tmp_path / "epoch-0003.pt", "checkpoint", 1)
    assert saved["memory_format"] == "channels_last"


# --- compiling -----------------------------------------------------------------------------------


def test_a_compiled_run_is_the_same_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    whole = train()
    compiled: list[bool] = []

    class Look(Callback):
        def on_epoch_end(self, state: TrainState) -> None:
            compiled.append(state.model._compiled_call_impl is not None)

    eager = {"backend": "eager"}
    model = network()
    assert train(model=model, compile=eager, callbacks=Look()).same(whole)
    assert compiled == [True] * 3
    assert model._compiled_call_impl is None
    assert isinstance(copy.deepcopy(model), nn.Module)
    train(tmp_path, compile=eager, checkpoint_every=3, epochs=3)
    assert Result(network(), train(tmp_path, compile=eager, resume=True).history).rows == whole.rows


def test_a_model_that_was_compiled_before_stays_so() -> None:
    model = network()
    model.compile(backend="eager")
    before = model._compiled_call_impl
    train(model=model)
    train(model=model, compile={"backend": "eager"})
    assert model._compiled_call_impl is before


def test_the_figures_of_a_run_are_those_of_evaluate() -> None:
    data = loaders()
    result = train(data=data, scheduler=None)
    report = evaluate(result.model, data.val)
    assert result.history.best is not None
    assert report.loss == pytest.approx(result.history.best["val_loss"], rel=1e-5)
    assert report.accuracy == result.history.best["val_acc"]
