from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cnnkit.errors import ModelError
from cnnkit.models import MLP, AlexNet, LeNetVariant, ThreeConvCIFAR, load_weights


def article_lenet() -> nn.Sequential:
    """The cat article's network, its layers numbered 0, 3, 7, 9, 11, on images of 116×116."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 45),
        nn.ReLU(),
        nn.AvgPool2d(18, 2),
        nn.Conv2d(6, 9, 20),
        nn.ReLU(),
        nn.AvgPool2d(9, 2),
        nn.Flatten(),
        nn.Linear(9, 544),
        nn.ReLU(),
        nn.Linear(544, 68),
        nn.ReLU(),
        nn.Linear(68, 2),
        nn.Softmax(1),
    )


def article_alexnet() -> nn.Sequential:
    """The cat article's network, its layers numbered 0, 3, 6, 8, 10, 14, 17, 20, on 65×65."""
    return nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4, 1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(256, 4096), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(4096, 2), nn.Softmax(1)),
    )


def numbers(state_dict: dict[str, Tensor]) -> list[int]:
    return sorted({int(name.partition(".")[0]) for name in state_dict})


def test_by_order_from_the_articles_lenet() -> None:
    article, model = article_lenet().eval(), LeNetVariant(image_size=116).eval()
    assert numbers(article.state_dict()) == [0, 3, 7, 9, 11]
    assert load_weights(model, article.state_dict()) == []
    x = torch.rand(2, 3, 116, 116)
    assert torch.allclose(model.predict_proba(x), article(x), atol=1e-6)


def test_by_order_from_the_articles_alexnet() -> None:
    article, model = article_alexnet().eval(), AlexNet(image_size=65).eval()
    assert numbers(article.state_dict()) == [0, 3, 6, 8, 10, 14, 17, 20]
    assert load_weights(model, article.state_dict()) == []
    x = torch.rand(2, 3, 65, 65)
    assert torch.allclose(model.predict_proba(x), article(x), atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_by_name_whatever_the_order_and_the_wrapper(prefix: str) -> None:
    one, two = ThreeConvCIFAR(10, batch_norm=True), ThreeConvCIFAR(10, batch_norm=True)
    shuffled = {prefix + name: value for name, value in reversed(one.state_dict().items())}
    assert load_weights(two, shuffled) == []
    found = two.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in one.state_dict().items())


def test_equal_shapes_go_by_name_first() -> None:
    one, two = MLP(6, image_size=6, hidden=(36, 36)), MLP(6, image_size=6, hidden=(36, 36))
    names = list(one.state_dict())  # weight and bias of fc1, fc2, fc3
    swapped = {name: one.state_dict()[name] for name in names[2:4] + names[:2] + names[4:]}
    load_weights(two, swapped)
    assert torch.equal(two.get_parameter("fc1.weight"), one.get_parameter("fc1.weight"))


def test_what_does_not_fit_is_listed_and_changes_nothing() -> None:
    model = ThreeConvCIFAR(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = dict(ThreeConvCIFAR(10).state_dict())
    weights["extra"] = torch.zeros(3)
    del weights["conv2.bias"]
    with pytest.raises(ModelError) as caught:
        load_weights(model, weights)
    for line in (
        "fc2.weight: expected shape (2, 200), received (10, 200)",
        "conv2.bias: expected shape (32,), not in the weights",
        "extra: received shape (3,), not in the model",
    ):
        assert line in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    misfits = load_weights(model, weights, strict=False)
    assert len(misfits) == 4  # both of fc2, conv2.bias, extra
    assert torch.equal(model.conv1.weight, weights["conv1.weight"])
    assert torch.equal(model.fc2.weight, before["fc2.weight"])


def test_a_shared_name_of_another_shape_forbids_order() -> None:
    """Two layers under each other's name: equal shapes in order would be an accident."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False))
    with pytest.raises(ModelError, match=r"0\.weight: expected shape \(3, 3\), received \(2, 3\)"):
        load_weights(model, {"1.weight": torch.zeros(3, 3), "0.weight": torch.zeros(2, 3)})


def test_other_shapes_in_order_are_refused() -> None:
    with pytest.raises(ModelError, match="neither by name nor by order"):
        load_weights(LeNetVariant(image_size=130), article_lenet().state_dict())


def test_a_whole_checkpoint_is_refused() -> None:
    with pytest.raises(ModelError, match="received int for 'epoch'"):
        load_weights(MLP(2), {"epoch": 3, "model": {}})  # type: ignore[dict-item]


def test_the_meta_device_has_nothing_to_load_into() -> None:
    with torch.device("meta"):
        model = MLP(2)
    with pytest.raises(ModelError, match="to_empty"):
        load_weights(model, MLP(2).state_dict())


def test_names_that_say_another_order_forbid_that_of_the_shapes() -> None:
    given, model = (MLP(3, image_size=8, hidden=(64, 64, 64)) for _ in range(2))
    trained = given.state_dict()
    names = [f"fc{n}.{part}" for n in (2, 1, 3) for part in ("weight", "bias")]
    swapped = {name: trained[name] for name in names}
    swapped |= {f"head.{part}": trained[f"fc4.{part}"] for part in ("weight", "bias")}
    with pytest.raises(ModelError, match=r"do not fit MLP.*\n.*(fc4|head)"):
        load_weights(model, swapped)
    load_weights(model, swapped, strict=False)
    assert torch.equal(model.state_dict()["fc1.weight"], trained["fc1.weight"])
