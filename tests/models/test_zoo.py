"""Each model: the article's numbers, any shape that survives, and every way torch runs a model."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
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
    load_weights,
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


@ALL
def test_all_take_the_same_arguments_first(name: str) -> None:
    cls = type(create_model(name, **SMALL[name]))
    parameters = inspect.signature(cls).parameters
    assert list(parameters)[:3] == ["num_classes", "in_channels", "image_size"]
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}
    assert {"binary", "init"} <= set(parameters)
    assert all(parameter.default is not parameter.empty for parameter in parameters.values())
    assert issubclass(cls, ImageClassificationBase)


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


def conv(before: int, after: int, kernel: int, *, norm: bool = False) -> list[nn.Module]:
    """A convolution that keeps the size, batch-norm or not, and ReLU."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    return [layer, *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]


def hidden(before: int, after: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]


POOL, GELU, FLAT = nn.MaxPool2d(2), nn.GELU(), nn.Flatten()
#: Each model, and its layers one after another, written down a second time.
REFERENCES: dict[str, Callable[[], tuple[ImageClassificationBase, list[nn.Module]]]] = {
    "MLP": lambda: (
        MLP(),
        [FLAT, *hidden(784, 256, 0.2), *hidden(256, 64, 0.2), nn.Linear(64, 10)],
    ),
    "TwoLayerCNN": lambda: (
        TwoLayerCNN(),
        [*conv(1, 16, 5), POOL, *conv(16, 32, 5), POOL, FLAT, nn.Linear(1568, 10)],
    ),
    "TwoLayerCNN with options": lambda: (
        TwoLayerCNN(kernel_size=3, batch_norm=True, dropout=0.4),
        [
            *(*conv(1, 16, 3, norm=True), POOL, *conv(16, 32, 3, norm=True), POOL),
            *(FLAT, nn.Dropout(0.4), nn.Linear(1568, 10)),
        ],
    ),
    "ThreeConvCIFAR": lambda: (
        ThreeConvCIFAR(),
        [
            *(*conv(3, 16, 3), POOL, *conv(16, 32, 3), POOL, *conv(32, 64, 3), POOL),
            *(FLAT, nn.Dropout(0.2), *hidden(1024, 200, 0.2), nn.Linear(200, 10)),
        ],
    ),
    "SixConvCIFAR with options": lambda: (
        SixConvCIFAR(kernel_size=5, batch_norm=True, dropout=0.3, image_size=8),
        [
            *(*conv(3, 32, 5, norm=True), *conv(32, 64, 5, norm=True), POOL),
            *(*conv(64, 128, 5, norm=True), *conv(128, 128, 5, norm=True), POOL),
            *(*conv(128, 256, 5, norm=True), *conv(256, 256, 5, norm=True), POOL),
            *(FLAT, nn.Dropout(0.3), *hidden(256, 1024, 0.3), *hidden(1024, 512, 0.3)),
            nn.Linear(512, 10),
        ],
    ),
    "AlexNet": lambda: (
        AlexNet(image_size=65),
        [
            *(nn.Conv2d(3, 96, 11, 4, 1), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(*conv(96, 256, 5), nn.MaxPool2d(3, 2)),
            *(*conv(256, 384, 3), *conv(384, 384, 3), *conv(384, 256, 3), nn.MaxPool2d(3, 2)),
            *(FLAT, *hidden(256, 4096, 0.5), *hidden(4096, 4096, 0.5), nn.Linear(4096, 2)),
        ],
    ),
    "LeNetVariant": lambda: (
        LeNetVariant(image_size=116),
        [
            *(nn.Conv2d(3, 6, 45), nn.ReLU(), nn.AvgPool2d(18, 2)),
            *(nn.Conv2d(6, 9, 20), nn.ReLU(), nn.AvgPool2d(9, 2)),
            *(FLAT, *hidden(9, 544, 0.0), *hidden(544, 68, 0.0), nn.Linear(68, 2)),
        ],
    ),
    "FastCNN": lambda: (
        FastCNN(widths=(8, 12), depth=2),
        [
            *(nn.Conv2d(3, 24, 2, bias=False), GELU),
            *(nn.Conv2d(24, 8, 3, padding=1, bias=False), POOL, nn.BatchNorm2d(8), GELU),
            *(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), GELU),
            *(nn.Conv2d(8, 12, 3, padding=1, bias=False), POOL, nn.BatchNorm2d(12), GELU),
            *(nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), GELU),
            *(nn.AdaptiveMaxPool2d(1), FLAT, nn.Linear(12, 10, bias=False)),
        ],
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_layers_are_those_of_a_plain_sequential(name: str) -> None:
    model, chain = REFERENCES[name]()
    reference = nn.Sequential(*chain)
    assert load_weights(model, reference.state_dict()) == []
    x = images_for(model, 2 if name == "LeNetVariant" else 5)
    for training in (True, False):  # the same draws of dropout, the same batch-norm
        torch.manual_seed(0)
        ours = model.train(training)(x)
        torch.manual_seed(0)
        assert torch.allclose(ours, reference.train(training)(x), atol=1e-5)


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
    with pytest.raises(ArgumentError, match=r"widths as a tuple.* received \(\)$"):
        FastCNN(10, widths=())
    with pytest.raises(ArgumentError, match=r"widths as a tuple.* received 64$"):
        FastCNN(10, widths=64)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"widths\[1\] .* received -4$"):
        FastCNN(10, widths=(8, -4))


@pytest.mark.parametrize(
    ("name", "kwargs", "smallest", "layer", "receives"),
    # The last layer of each chain, and what reaches it of an image that lacks one pixel.
    [
        ("TwoLayerCNN", {}, 4, "pool2", 1),
        ("TwoLayerCNN", {"kernel_size": 1}, 4, "pool2", 1),
        ("ThreeConvCIFAR", {}, 8, "pool3", 1),
        ("SixConvCIFAR", {"kernel_size": 7, "batch_norm": True}, 8, "pool3", 1),
        ("LeNetVariant", {}, 116, "pool2", 8),
        ("AlexNet", {}, 65, "pool3", 2),
        ("FastCNN", {}, 9, "blocks.2.pool", 1),
        ("FastCNN", {"widths": (8, 8), "depth": 3}, 5, "blocks.1.pool", 1),
    ],
)
def test_an_image_too_small_names_the_smallest_and_the_layer(
    name: str, kwargs: dict[str, Any], smallest: int, layer: str, receives: int
) -> None:
    with torch.device("meta"):
        model = create_model(name, image_size=smallest, **kwargs)
        assert model(torch.empty(2, *(model.image_shape or ()))).dim() == 2  # torch takes it too
        told = rf"^{name}: .*layer '{layer}', .* receives {receives}×{receives}\. "
        with pytest.raises(ImageTooSmallError, match=rf"{told}.*works is {smallest}×{smallest}$"):
            create_model(name, image_size=smallest - 1, **kwargs)
        for size in [(smallest + 5, smallest - 1), (smallest - 1, smallest + 5)]:
            sides = f"of {size[0]}×{size[1]} .height × width.*'{layer}'.*{smallest}×{smallest}$"
            with pytest.raises(ImageTooSmallError, match=sides):
                create_model(name, image_size=size, **kwargs)


def test_the_first_layer_that_fails_is_named() -> None:
    with pytest.raises(ImageTooSmallError, match=r"'conv1', Conv2d.*receives 20×20"):
        LeNetVariant(image_size=20)
    with pytest.raises(ImageTooSmallError, match=r"'pool1', MaxPool2d.*receives 1×30"):
        TwoLayerCNN(image_size=(1, 30))


def test_an_mlp_takes_a_single_pixel() -> None:
    assert MLP(4, image_size=1)(torch.rand(2, 1, 1, 1)).shape == (2, 4)
    with pytest.raises(ArgumentError, match=r"image_size .*received 0"):
        MLP(4, image_size=0)


#: The smallest height and width of each model.
LEAST = {
    "AlexNet": 65,
    "FastCNN": 9,
    "LeNetVariant": 116,
    "MLP": 1,
    "SixConvCIFAR": 8,
    "ThreeConvCIFAR": 8,
    "TwoLayerCNN": 4,
}


@ALL
@pytest.mark.parametrize("channels", [1, 2, 4, 11])
def test_any_channels_and_any_size_that_survives(name: str, channels: int) -> None:
    least = LEAST[name]
    for more in [(0, 0), (0, 13), (6, 1), (31, 2)]:
        size = (least + more[0], least + more[1])
        with torch.device("meta"):
            model = create_model(name, num_classes=3, in_channels=channels, image_size=size)
            # On meta torch works out each shape itself, and refuses a linear layer of another size.
            assert model(torch.empty(2, channels, *size)).shape == (2, 3), size


def test_a_fast_cnn_refuses_images_when_they_come() -> None:
    """It takes other sizes than it was built for, but neither too small ones nor other channels."""
    model = FastCNN(10, image_size=32).eval()
    assert model(torch.rand(1, 3, 9, 200)).shape == (1, 10)
    with pytest.raises(ImageTooSmallError, match=r"of 8×40 .*'blocks.2.pool'.*works is 9×9"):
        model(torch.rand(2, 3, 8, 40))
    with pytest.raises(ModelError, match=r"\(N, 3, height, width\), received \(2, 1, 32, 32\)"):
        model(torch.rand(2, 1, 32, 32))
    with pytest.raises(ModelError, match=r"received \(3, 32, 32\)"):
        model(torch.rand(3, 32, 32))


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        *((name, "in_channels", 0) for name in SMALL),
        *((name, "kernel_size", 0) for name in ("TwoLayerCNN", "ThreeConvCIFAR", "SixConvCIFAR")),
        ("TwoLayerCNN", "kernel_size", (3, 5)),
        ("ThreeConvCIFAR", "hidden", 0),
        ("ThreeConvCIFAR", "hidden", (200,)),
        ("MLP", "hidden", 500),
        ("FastCNN", "depth", 0),
        ("FastCNN", "in_channels", 3.0),
    ],
)
def test_layers_of_no_size_are_refused(name: str, argument: str, value: object) -> None:
    told = f"expected {argument} as .*received {str(value).replace('(', '.').replace(')', '.')}$"
    with pytest.raises(ArgumentError, match=told):
        create_model(name, **{argument: value})


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
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x, labels = images_for(model), torch.tensor([0, 2])
    assert torch.equal(compiled(x), twin(x))
    # aot_eager compiles the backward pass too, all but the code that inductor would write.
    twin.loss(compiled(x), labels).backward()
    twin.loss(twin(x), labels).backward()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)  # type: ignore[arg-type]


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
