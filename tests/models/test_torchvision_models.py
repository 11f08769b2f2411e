from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from cnnkit.errors import DownloadError, ModelError
from cnnkit.models import create_model, from_torchvision, model_spec
from cnnkit.train import evaluate, fit

HEADS = [
    ("resnet18", "fc", 512),
    ("alexnet", "classifier.6", 4096),
    ("vgg11_bn", "classifier.6", 4096),
    ("mnasnet0_5", "classifier.1", 1280),
    ("mobilenet_v2", "classifier.1", 1280),
    ("mobilenet_v3_small", "classifier.3", 1024),
    ("shufflenet_v2_x0_5", "fc", 1024),
    ("squeezenet1_1", "classifier.1", 512),
    ("efficientnet_b0", "classifier.1", 1280),
    ("regnet_y_400mf", "fc", 440),
    ("densenet121", "classifier", 1024),
    ("convnext_tiny", "classifier.2", 768),
    ("googlenet", "fc", 1024),
    ("vit_b_16", "heads.head", 768),
    ("swin_t", "head", 768),
    ("maxvit_t", "classifier.5", 512),
]


@pytest.mark.parametrize(("name", "head", "inputs"), HEADS)
def test_the_head_is_replaced(name: str, head: str, inputs: int) -> None:
    # RegNet's widths are worked out with tensors, and those on meta hold no numbers.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = from_torchvision(name, 7, freeze=True)
        logits = model.eval()(torch.zeros(2, 3, 224, 224))
    assert logits.shape == (2, 7)
    assert model.head == head
    layer = model.net.get_submodule(head)
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    assert layer.weight.shape[:2] == (7, inputs)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"net.{head}.{n}" for n, _ in layer.named_parameters()}


def test_each_family_of_torchvisions_is_among_these() -> None:
    from torchvision import models

    tested = {models.get_model_builder(name).__module__ for name, *_ in HEADS}
    tested.add(models.get_model_builder("inception_v3").__module__)  # below
    names = models.list_models(module=models)
    assert {models.get_model_builder(name).__module__ for name in names} == tested


def test_a_plain_resnet18_trains() -> None:
    """`fit` needs nothing of ours in a model."""
    from torchvision.models import resnet18

    labels = torch.arange(16) % 2
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 3, 32, 32, generator=generator) / 4 + labels.reshape(-1, 1, 1, 1) / 2
    batches = list(zip(images.split(8), labels.split(8), strict=True))
    torch.manual_seed(0)
    model = resnet18(num_classes=2)
    rows = fit(model, batches, epochs=6, optimizer="adam", lr=1e-3, progress=False).rows
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 4
    assert rows[-1]["train_acc"] == 1.0
    assert evaluate(model, batches).samples == 16


def test_inception_gives_plain_logits_in_training() -> None:
    with torch.device("meta"):
        model = from_torchvision("inception_v3", 4)
        step = model.train().training_step((torch.empty(2, 3, 299, 299), torch.empty(2).long()))
    assert step[1].shape == (2, 4)
    assert model.net.transform_input  # as with weights, so that a rebuilt one agrees


def test_freeze_fixes_the_backbone_and_trains_the_head() -> None:
    torch.manual_seed(0)
    model = from_torchvision("resnet18", 3, freeze=True).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        loss, _ = model.training_step((torch.rand(4, 3, 40, 40), torch.tensor([0, 1, 2, 0])))
        loss.backward()
        optimizer.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"net.fc.weight", "net.fc.bias"}


def test_batch_norm_learns_where_nothing_is_frozen() -> None:
    model = from_torchvision("resnet18", 3)
    before = model.state_dict()["net.bn1.running_mean"].clone()
    model.train()(torch.rand(4, 3, 40, 40))
    assert not torch.equal(model.state_dict()["net.bn1.running_mean"], before)
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_modes() -> None:
    with torch.device("meta"):
        model = from_torchvision("efficientnet_b0", 3, freeze=True)
    modes = {type(m).__name__: m.training for m in model.net.modules() if m is not model.net}
    assert modes["BatchNorm2d"] is False
    assert modes["StochasticDepth"] is False
    assert modes["Dropout"] is True  # before the head that is trained
    assert modes["Linear"] is True
    assert model.training
    assert not any(m.training for m in model.eval().modules())
    twin = pickle.loads(pickle.dumps(model.train()))
    assert not twin.train().net.get_submodule("features.0.1").training


@pytest.mark.parametrize(
    ("name", "kwargs", "shape"),
    [
        ("resnet18", {"freeze": True}, (2, 3, 40, 40)),
        ("squeezenet1_1", {}, (2, 3, 40, 40)),
        ("vit_b_16", {"image_size": 32}, (2, 3, 32, 32)),
    ],
)
def test_made_again_from_its_spec(
    name: str, kwargs: dict[str, Any], shape: tuple[int, ...]
) -> None:
    # Twelve layers of a ViT take seconds to draw: on meta, where equal keys and shapes are enough.
    with torch.device("meta" if name == "vit_b_16" else "cpu"):
        model = from_torchvision(name, 3, **kwargs).eval()
        spec = model_spec(model)
        assert spec is not None
        assert spec[0] == f"torchvision:{name}"
        assert spec[1] == {"num_classes": 3, "freeze": False, **kwargs}
        again = create_model(spec[0], **json.loads(json.dumps(spec[1]))).eval()
        again.load_state_dict(model.state_dict(), assign=True)
        x = torch.rand(shape)
        assert again(x).shape == (2, 3)
        if not x.is_meta:
            assert torch.equal(again(x), model(x))
    assert model_spec(again) == spec


@dataclass
class Loader:
    classes: tuple[str, ...] | None = ("cat", "dog", "owl")
    image_shape: tuple[int, int, int] | None = (3, 40, 40)


def test_like_a_loader() -> None:
    with torch.device("meta"):
        model = create_model("torchvision:squeezenet1_1", like=Loader())
        assert model(torch.empty(2, 3, 40, 40)).shape == (2, 3)
        no_shape = create_model("torchvision:squeezenet1_1", like=Loader(image_shape=None))
    assert no_shape.arguments["num_classes"] == 3
    with pytest.raises(ModelError, match="3 channels, received a loader of 1"):
        create_model("torchvision:resnet18", like=Loader(image_shape=(1, 28, 28)))
    with pytest.raises(ModelError, match="pass num_classes"):
        create_model("torchvision:resnet18")


def test_what_torchvision_does_not_have() -> None:
    with pytest.raises(ModelError, match=r"no classifier 'resnet81'. Did you mean .*resnet18"):
        from_torchvision("resnet81", 2)
    with pytest.raises(ModelError, match="no classifier 'raft_small'"):  # optical flow
        from_torchvision("raft_small", 2)
    with pytest.raises(ModelError, match="'V9' for resnet18: there are IMAGENET1K_V1, DEFAULT"):
        from_torchvision("resnet18", 2, weights="V9")
    with pytest.raises(ModelError, match=r"cannot make resnet18 with {'depth': 3}"):
        from_torchvision("resnet18", 2, depth=3)
    with pytest.raises(ModelError, match="num_classes=1"):
        from_torchvision("resnet18", 1)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(DownloadError, match=r"'DEFAULT' of squeezenet1_1 .*no route to host"):
        from_torchvision("squeezenet1_1", 2, weights="DEFAULT")


def test_pretrained_weights_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the head is what the download holds, and a rebuilt model needs no download."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(3)
    state: dict[str, torch.Tensor] = squeezenet1_1().state_dict()
    source = "torchvision.models._api.load_state_dict_from_url"

    def download(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        return state

    monkeypatch.setattr(source, download)
    model = from_torchvision("squeezenet1_1", 2, weights="IMAGENET1K_V1", freeze=True)
    found = model.state_dict()
    same = {name for name in state if torch.equal(found[f"net.{name}"], state[name])}
    assert set(state) - same == {"classifier.1.weight", "classifier.1.bias"}
    assert model_spec(model) == ("torchvision:squeezenet1_1", {"num_classes": 2, "freeze": True})
