"""Several processes on CUDA: a card each over nccl, or one card for all of them over gloo."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from processes import on_processes
from torch import Tensor, nn
from torch import distributed as torch_distributed

from cnnkit import distributed, train
from cnnkit.data import ArrayDataset, augment, make_loaders, train_val_split
from cnnkit.device import default_device
from cnnkit.errors import CnnkitWarning

CARDS = torch.cuda.device_count() if torch.cuda.is_available() else 0

pytestmark = pytest.mark.gpu
needs_a_card = pytest.mark.skipif(CARDS < 1, reason="needs a CUDA device")
needs_two = pytest.mark.skipif(CARDS < 2, reason="needs two CUDA devices: nccl wants one a process")

Result = tuple[list[dict[str, Any]], dict[str, Tensor], dict[str, Any]]


def images(number: int) -> ArrayDataset:
    """Noise, brighter in the half that tells the class."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 120, (number, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(number) % 2
    for label in range(2):
        pixels[labels == label, :, 4 * label : 4 * label + 4] += 100
    return ArrayDataset(pixels, labels)


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def normalised() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    )


def trained(build: Callable[[], nn.Module], **options: Any) -> Result:
    """Rows, weights on the CPU and report of a short run on the default device."""
    torch.backends.cudnn.allow_tf32 = False  # it has ten bits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CnnkitWarning)  # the run is short, and may share its card
        torch.manual_seed(distributed.rank())  # fit takes the weights of the main one
        model = build()
        split = train_val_split(images(59), val=14)
        # 45 samples in batches of 9: shares of four and five, which the loss must weigh.
        loaders = make_loaders(split, 9, augment=[augment.RandomFlip()])
        assert loaders.val is not None
        options = {"optimizer": "momentum", "clip_norm": 1.0, "progress": False, **options}
        history = train.fit(model, loaders.train, loaders.val, epochs=2, lr=0.05, **options)
        report = train.evaluate(model, loaders.val)
    for row in history.rows:
        row.pop("seconds")
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    return history.rows, weights, report.to_dict()


def assert_follow(expected: Result, results: list[Result]) -> None:
    """Each of several processes has the figures and weights of one, but for rounding."""
    for rows, weights, report in results:
        for row, wanted in zip(rows, expected[0], strict=True):
            assert row == pytest.approx(wanted, abs=1e-4)
        for name, value in weights.items():
            torch.testing.assert_close(value, expected[1][name], rtol=0, atol=1e-4)
            assert torch.equal(value, results[0][1][name])
        assert report["confusion_matrix"] == expected[2]["confusion_matrix"]


def over_nccl() -> tuple[dict[str, Any], Result]:
    rank, device = distributed.rank(), default_device()
    both = [
        distributed.all_reduce_sum(torch.tensor([float(rank), 1.0], device=where)).cpu().tolist()
        for where in (device, "cpu")
    ]
    gathered = distributed.gather(torch.tensor(rank, device=device))
    same = torch.full((3,), float(rank), device=device)
    distributed.same_on_all([same])
    told = {
        "backend": torch_distributed.get_backend_config(),
        "device": str(device),
        "sums": both,
        "gathered": [(int(one), one.device.type) for one in gathered],
        "same": same.tolist(),
        "any": distributed.any_of_us(rank == 1),
    }
    return told, trained(plain)


@needs_two
def test_over_nccl_they_follow_one_process() -> None:
    results = on_processes(2, over_nccl, timeout=180)
    for rank, (told, _) in enumerate(results):
        assert "cuda:nccl" in told.pop("backend")
        assert told == {
            "device": f"cuda:{rank}",
            "sums": [[1.0, 2.0], [1.0, 2.0]],
            "gathered": [(0, "cpu"), (1, "cpu")],
            "same": [0.0, 0.0, 0.0],
            "any": True,
        }
    assert_follow(trained(plain), [result for _, result in results])


def synchronised() -> Result:
    return trained(normalised, sync_batchnorm=True)


@needs_two
def test_synchronised_batch_normalisation_is_that_of_the_whole_batch() -> None:
    assert_follow(trained(normalised), on_processes(2, synchronised, timeout=180))


def sharing() -> tuple[str, Result]:
    result = trained(plain)
    return torch_distributed.get_backend(), result


@needs_a_card
def test_more_processes_than_cards_share_them_over_gloo() -> None:
    results = on_processes(CARDS + 1, sharing, timeout=180)
    assert {backend for backend, _ in results} == {"gloo"}
    assert_follow(trained(plain), [result for _, result in results])
