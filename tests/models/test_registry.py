from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import ArgumentError, ModelError
from cnnkit.models import (
    MLP,
    FastCNN,
    ImageClassificationBase,
    ThreeConvCIFAR,
    create_model,
    list_models,
    model_spec,
    register,
)
from cnnkit.models import _registry as registry


@dataclass
class Loader:
    classes: tuple[str, ...] | None = ("cat", "dog", "owl")
    image_shape: tuple[int, int, int] | None = (3, 24, 32)


@dataclass
class Loaders:
    train: Loader


@pytest.fixture
def clean_registry() -> Iterator[None]:
    known = dict(registry._MODELS)
    yield
    registry._MODELS.clear()
    registry._MODELS.update(known)


def test_like_a_loader_or_loaders() -> None:
    for like in (Loader(), Loaders(Loader())):
        model = create_model("ThreeConvCIFAR", like=like)
        assert model.image_shape == (3, 24, 32)
        assert model(torch.rand(2, 3, 24, 32)).shape == (2, 3)
    square = create_model("MLP", like=Loader(image_shape=(1, 8, 8)))
    assert square.arguments["image_size"] == 8


def test_arguments_win_over_like() -> None:
    model = create_model("MLP", like=Loader(), num_classes=7, image_size=5, hidden=(4,))
    assert model(torch.rand(2, 3, 5, 5)).shape == (2, 7)


def test_binary_means_two_classes() -> None:
    two = Loader(("cat", "dog"))
    model = create_model("ThreeConvCIFAR", like=two, binary=True)
    assert model(torch.rand(4, 3, 24, 32)).shape == (4,)
    assert create_model("MLP", binary=True).arguments["num_classes"] == 2
    with pytest.raises(ModelError, match="2 classes, received num_classes=3"):
        create_model("MLP", like=Loader(), binary=True)


def test_like_must_say_what_it_decides() -> None:
    with pytest.raises(ModelError, match=r"like=Loader does not say its classes: pass num_classes"):
        create_model("MLP", like=Loader(classes=None))
    assert create_model("MLP", like=Loader(classes=None), num_classes=4).arguments[
        "image_size"
    ] == [24, 32]
    with pytest.raises(ModelError, match="does not say the shape of its images"):
        create_model("MLP", like=Loader(image_shape=None))
    model = create_model("MLP", like=Loader(image_shape=None), in_channels=1, image_size=9)
    assert model.image_shape == (1, 9, 9)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("threeconvcifar", "Did you mean ThreeConvCIFAR"),
        ("ThreeConv", "ThreeConvCIFAR"),
        ("Alexnet", "Did you mean AlexNet"),
        ("alexnet", "Did you mean AlexNet"),  # torchvision has one of this name
        ("resnet18", "Did you mean torchvision:resnet18"),
        ("torchvision:resnet81", "Did you mean .*resnet18"),
        ("qqqq", "'. There are AlexNet, FastCNN, LeNetVariant, MLP"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, hint: str) -> None:
    given = name.removeprefix("torchvision:")
    with pytest.raises(ModelError, match=rf"'{given}.*{hint}"):
        create_model(name, num_classes=2)


def test_unknown_arguments_list_the_known() -> None:
    with pytest.raises(ModelError, match=r"argument droput. Did you mean dropout.* num_classes,"):
        create_model("MLP", droput=0.1)


@pytest.mark.parametrize("name", ["FastCNN", "LeNetVariant", "MLP", "SixConvCIFAR", "TwoLayerCNN"])
def test_a_model_is_made_again_from_its_spec(name: str) -> None:
    size = (116, 118) if name == "LeNetVariant" else (12, 14)
    model = create_model(name, image_size=size, in_channels=2, num_classes=4)
    spec = model_spec(model)
    assert spec is not None
    assert spec == (name, json.loads(json.dumps(spec[1])))
    again = create_model(spec[0], **json.loads(json.dumps(spec[1])))
    assert again.arguments == model.arguments
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 2, *size)
    assert torch.equal(again.eval()(x), model.eval()(x))


def test_all_arguments_are_recorded_as_json() -> None:
    model = MLP(np.int64(3), image_size=torch.Size((4, 5)), dropout=np.float32(0.5))  # type: ignore[arg-type]
    assert model.arguments == {
        "num_classes": 3,
        "in_channels": 1,
        "image_size": [4, 5],
        "hidden": [256, 64],
        "dropout": 0.5,
        "binary": False,
        "init": "default",
    }
    assert type(model.arguments["num_classes"]) is int


def test_a_spec_is_a_copy() -> None:
    model = MLP(3)
    spec = model_spec(model)
    assert spec is not None
    spec[1]["hidden"].append(1)
    assert model.arguments["hidden"] == [256, 64]


def test_only_exactly_a_registered_class_has_a_spec() -> None:
    class Mine(ThreeConvCIFAR):
        def __init__(self, width: int) -> None:
            super().__init__(10, hidden=width)

    assert model_spec(Mine(20)) is None
    assert not hasattr(Mine(20), "arguments")
    assert model_spec(nn.Linear(2, 2)) is None


@pytest.mark.usefixtures("clean_registry")
def test_register_a_model_and_its_registered_subclass() -> None:
    @register
    class Tiny(ImageClassificationBase):
        def __init__(self, num_classes: int = 2, *, sides: tuple[int, ...] = (2, 2)) -> None:
            super().__init__()
            assert isinstance(sides, tuple)
            self.linear = nn.Linear(sides[0] * sides[1], num_classes)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.linear(images.flatten(1))
            return logits

    @register
    class Tinier(Tiny):
        def __init__(self, scale: float = 1.0) -> None:
            super().__init__(5)

    assert {"Tiny", "Tinier"} <= set(list_models())
    assert model_spec(Tiny(3)) == ("Tiny", {"num_classes": 3, "sides": [2, 2]})
    assert model_spec(Tinier()) == ("Tinier", {"scale": 1.0})
    assert create_model("Tiny", sides=[3, 4]).linear.in_features == 12  # type: ignore[union-attr]
    assert create_model("Tiny", like=Loader())(torch.rand(2, 1, 2, 2)).shape == (2, 3)


@pytest.mark.usefixtures("clean_registry")
def test_register_refuses_what_it_could_not_make_again() -> None:
    class Free(ImageClassificationBase):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__()

    with pytest.raises(ModelError, match=r"Free takes .*kwargs"):
        register(Free)

    @register
    class Holds(ImageClassificationBase):
        def __init__(self, part: object = None) -> None:
            super().__init__()

    with pytest.raises(ModelError, match=r"Holds\(part=…\) received a Linear"):
        Holds(nn.Linear(1, 1))
    with pytest.raises(ModelError, match=r"'MLP' is cnnkit\.models\._mlp\.MLP already"):
        register(type("MLP", (Holds,), {}))


@pytest.mark.usefixtures("clean_registry")
def test_a_class_defined_again_replaces_the_first() -> None:
    def define() -> type[ImageClassificationBase]:
        @register
        class Cell(ImageClassificationBase):
            def __init__(self, width: int = 1) -> None:
                super().__init__()

        return Cell

    old, new = define(), define()
    assert type(create_model("Cell")) is new
    assert model_spec(old()) is None
    assert model_spec(new()) == ("Cell", {"width": 1})


def test_the_recording_is_invisible() -> None:
    assert "widths" in FastCNN.__init__.__annotations__
    assert FastCNN.__name__ == "FastCNN"
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        FastCNN(10, width=3)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="image_size"):
        FastCNN(10, image_size=(1, 2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize("hidden", [(64.0,), (True,), "64", 64, (0,), None])
def test_widths_are_whole_numbers(hidden: Any) -> None:
    received = re.escape(repr(hidden))
    with pytest.raises(ArgumentError, match=f"hidden as a tuple.*received {received}"):
        MLP(2, hidden=hidden)


def test_a_vision_transformer_takes_the_size_of_the_images() -> None:
    @dataclass
    class Photographs:
        image_shape: tuple[int, int, int]
        classes: tuple[str, ...] = ("a", "b")

    name = "torchvision:vit_b_32"
    model = create_model(name, like=Photographs((3, 64, 64)))
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    spec = model_spec(model)
    assert spec is not None
    assert spec[1]["image_size"] == 64
    with pytest.raises(ModelError, match="square images, received a loader of 64x32"):
        create_model(name, like=Photographs((3, 64, 32)))
    other = create_model(name, like=Photographs((3, 64, 64)), image_size=96)
    assert other(torch.zeros(1, 3, 96, 96)).shape == (1, 2)
