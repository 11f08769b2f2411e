"""Each model: the article's numbers, any shape that survives, and every way torch runs a model."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError, ImageTooSmallError, ModelError
from cnnkit.models import (
    MLP,
    AlexNet,
    FastCNN,
    ImageClassificationBase,
    LeNetVariant,
    SixConvCIFAR,
    ThreeConvCIFAR,
    TwoLayerCNN,
    create_model,
    list_models,
)

#: The smallest that is quick, with two classes and an odd channel count.
SMALL: dict[str, dict[str, Any]] = {
    "AlexNet": {"image_size": 65, "dropout": 0.5},
    "FastCNN": {"image_size": 12, "depth": 2},
    "LeNetVariant": {"image_size": 116},
    "MLP": {"image_size": (6, 9)},
    "SixConvCIFAR": {"image_size": (8, 16), "batch_norm": True, "dropout": 0.1},
    "ThreeConvCIFAR": {"image_size": (16, 8), "batch_norm": True},
    "TwoLayerCNN": {"image_size": (9, 14), "batch_norm": True, "dropout": 0.1},
}
ALL = pytest.mark.parametrize("name", sorted(SMALL))


def small(name: str, **kwargs: Any) -> ImageClassificationBase:
    torch.manual_seed(0)
    return create_model(name, **{"num_classes": 3, "in_channels": 5, **SMALL[name], **kwargs})


def images_for(model: ImageClassificationBase, count: int = 2) -> Tensor:
    assert model.image_shape is not None
    return torch.rand(count, *model.image_shape, generator=torch.Generator().manual_seed(1))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def layers(model: nn.Module) -> list[str]:
    return sorted({name.rpartition(".")[0] for name, _ in model.named_parameters()})


def test_every_model_is_listed() -> None:
    assert set(SMALL) <= set(list_models())


@pytest.mark.parametrize(
    ("name", "kwargs", "parameters", "names"),
    [
        ("MLP", {}, 218_058, "fc1 fc2 fc3"),
        ("MLP", {"hidden": (512, 512)}, 669_706, "fc1 fc2 fc3"),
        ("TwoLayerCNN", {}, 28_938, "cnn1 cnn2 fc1"),
        ("ThreeConvCIFAR", {}, 230_594, "conv1 conv2 conv3 fc1 fc2"),
        ("ThreeConvCIFAR", {"hidden": 500, "dropout": 0.25}, 541_094, "conv1 conv2 conv3 fc1 fc2"),
        (
            "ThreeConvCIFAR",
            {"image_size": 128, "hidden": 128, "dropout": 0.25, "num_classes": 2, "binary": True},
            2_120_993,
            "conv1 conv2 conv3 fc1 fc2",
        ),
        ("SixConvCIFAR", {}, 5_851_338, "conv1 conv2 conv3 conv4 conv5 conv6 fc1 fc2 fc3"),
        ("LeNetVariant", {}, 5_109_311, "conv1 conv2 fc1 fc2 fc3"),
        ("AlexNet", {}, 58_289_538, "conv1 conv2 conv3 conv4 conv5 fc1 fc2 fc3"),
    ],
)
def test_the_articles_parameters(
    name: str, kwargs: dict[str, Any], parameters: int, names: str
) -> None:
    with torch.device("meta"):
        model = create_model(name, **kwargs)
    assert count(model) == parameters
    assert layers(model) == names.split()


def test_the_articles_sizes() -> None:
    with torch.device("meta"):
        assert TwoLayerCNN().fc1.in_features == 32 * 7 * 7
        assert ThreeConvCIFAR().fc1.in_features == 1024
        assert ThreeConvCIFAR(image_size=128).fc1.in_features == 64 * 16 * 16
        assert SixConvCIFAR().fc1.in_features == 4096
        assert LeNetVariant().fc1.in_features == 9216
        alexnet = AlexNet()
    assert alexnet.fc1.in_features == 9216
    assert sum(p.numel() * 4 for p in alexnet.parameters()) // 2**20 == 222  # MiB


def test_fast_cnn_parameters() -> None:
    widths = (32, 64, 128)
    assert count(FastCNN(10, widths=widths)) == 101_088
    second = sum(w * w * 9 + 2 * w for w in widths)
    assert count(FastCNN(10, widths=widths, depth=2)) == 101_088 + second
    assert not any(name.endswith("conv1.bias") for name in FastCNN().state_dict())
    assert FastCNN(3, widths=(8,))(torch.rand(1, 3, 50, 20)).shape == (1, 3)  # any size
    with pytest.raises(ArgumentError, match=r"widths=\(\), depth=1"):
        FastCNN(10, widths=())


@pytest.mark.parametrize(("name", "size"), [("LeNetVariant", 116), ("AlexNet", 65), ("FastCNN", 9)])
def test_smallest_image(name: str, size: int) -> None:
    with torch.device("meta"):
        create_model(name, image_size=size)
        with pytest.raises(ImageTooSmallError, match=rf"{name}: .*layer .*works is {size}×{size}"):
            create_model(name, image_size=size - 1)
        with pytest.raises(ImageTooSmallError, match=rf"of {size}×{size - 1} \(height × width\)"):
            create_model(name, image_size=(size, size - 1))


def test_the_failing_layer_is_named() -> None:
    with pytest.raises(ImageTooSmallError, match=r"'pool2', AvgPool2d.*receives 8×8"):
        LeNetVariant(image_size=115)
    with pytest.raises(ImageTooSmallError, match=r"'conv1', Conv2d.*receives 20×20"):
        LeNetVariant(image_size=20)


def test_mlp_keeps_any_depth() -> None:
    assert layers(MLP(4, hidden=(7, 6, 5, 4))) == ["fc1", "fc2", "fc3", "fc4", "fc5"]
    assert layers(MLP(4, hidden=())) == ["fc1"]
    assert MLP(4, hidden=())(torch.rand(2, 1, 28, 28)).shape == (2, 4)
    with pytest.raises(ArgumentError, match=r"received \(3, 0\)"):
        MLP(4, hidden=(3, 0))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", ["TwoLayerCNN", "ThreeConvCIFAR", "SixConvCIFAR"])
def test_kernel_size(name: str, kernel_size: int) -> None:
    model = small(name, kernel_size=kernel_size)
    assert model(images_for(model)).shape == (2, 3)
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert first.kernel_size == (kernel_size, kernel_size)


@pytest.mark.parametrize("name", ["TwoLayerCNN", "ThreeConvCIFAR", "SixConvCIFAR"])
def test_batch_norm_keeps_the_other_names(name: str) -> None:
    plain, norm = create_model(name), create_model(name, batch_norm=True)
    added = set(norm.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) <= set(norm.state_dict())
    assert {key.partition(".")[0][:2] for key in added} == {"bn"}


@ALL
def test_logits_and_binary(name: str) -> None:
    model, one = small(name), small(name, num_classes=2, binary=True)
    assert model(images_for(model)).shape == (2, 3)
    assert one(images_for(one)).shape == (2,)
    assert one.eval()(images_for(one, 1)).shape == (1,)
    assert one.predict_proba(images_for(one)).shape == (2, 2)
    with pytest.raises(ModelError, match="2 classes, received num_classes=3"):
        small(name, num_classes=3, binary=True)
    with pytest.raises(ModelError, match="num_classes=1"):
        small(name, num_classes=1)


@ALL
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = small(name, init="kaiming")
    images = images_for(model, 2 if name == "LeNetVariant" else 4)
    loss, _ = model.training_step((images, torch.arange(len(images)) % 3))
    loss.backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@ALL
def test_compile(name: str) -> None:
    model = small(name).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images_for(model)), model(images_for(model)))


@ALL
def test_export(name: str) -> None:
    model = small(name).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (images_for(model),), dynamic_shapes=({0: batch},))
    x = images_for(model, 3)
    assert torch.allclose(exported.module()(x), model(x), atol=1e-6)


@ALL
def test_bf16_autocast(name: str) -> None:
    model = small(name, num_classes=2, binary=name != "MLP")
    x, labels = images_for(model), torch.tensor([0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, logits = model.training_step((x, labels))
    assert logits.dtype == torch.bfloat16
    assert loss.isfinite()
    loss.backward()
    model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(x)
    assert torch.allclose(low.float(), model(x), atol=0.05)


@ALL
def test_channels_last(name: str) -> None:
    model = small(name).eval()
    # A 45×45 convolution is 20 times slower in channels_last on a CPU: one image is enough.
    x = images_for(model, 1 if name == "LeNetVariant" else 2)
    expected = model(x)
    model.to(memory_format=torch.channels_last)
    found = model(x.to(memory_format=torch.channels_last))
    assert torch.allclose(found, expected, atol=1e-5)


@ALL
def test_deepcopy_and_pickle(name: str) -> None:
    model = small(name).eval()
    model.threshold = 0.3
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is type(model)
        assert twin.arguments == model.arguments
        assert twin.image_shape == model.image_shape
        assert twin.threshold == 0.3
        assert torch.equal(twin(images_for(model)), model(images_for(model)))
        with torch.no_grad():  # its weights are its own
            next(twin.parameters()).zero_()
        assert next(model.parameters()).any()


@ALL
def test_meta(name: str) -> None:
    with torch.device("meta"):
        model = small(name, init="xavier")
    assert all(p.is_meta for p in model.parameters())
    assert model.to("meta")(images_for(model).to("meta")).shape == (2, 3)


@ALL
def test_reproducible_by_torchs_seed(name: str) -> None:
    one, two = small(name).state_dict(), small(name).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
