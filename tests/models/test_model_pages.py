"""The numbers on the pages of the models are those of the models.

A page holds a diagram of the shapes, the printed summary, and tables whose rows begin with a call
or with a link to a model's page. Each is compared with what it is made from here. A ``text`` block
that follows a ``python`` block is what that block prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnkit import models
from cnnkit.errors import ImageTooSmallError
from cnnkit.models import ModelSummary, create_model, list_models, summary

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "models"
MODELS = {
    "MLP": "mlp",
    "TwoLayerCNN": "two-layer-cnn",
    "ThreeConvCIFAR": "three-conv-cifar",
    "SixConvCIFAR": "six-conv-cifar",
    "LeNetVariant": "lenet-variant",
    "AlexNet": "alexnet",
    "FastCNN": "fast-cnn",
}
ARTICLES = {
    "MLP": ["mnist-mlp"],
    "TwoLayerCNN": ["fashion-mnist"],
    "ThreeConvCIFAR": ["cifar10-three-conv", "mario-vs-wario"],
    "SixConvCIFAR": ["cifar10-six-conv"],
    "LeNetVariant": ["cat-covers"],
    "AlexNet": ["cat-covers"],
}
CALL = re.compile(r"^\| `(\w+\(.*?\))` \| ([\d,]+) \|", re.MULTILINE)
ROW = re.compile(r"^\| \[`(\w+)`\]\((.+)\.md\) \| (.+) \|$", re.MULTILINE)
CODE = re.compile(r"^```python\n((?:.*\n)*?)```\n(?:\n```text\n((?:.*\n)*?)```)?", re.MULTILINE)
FIGURE = re.compile(r"^\| `(\w+)` \| .* \| ([\d.]+) ?% \|$", re.MULTILINE)
PRETRAINED = re.compile(
    r"^\| `(\w+)` \| (\S+) % \| (\S+) million \| (\S+) million \|", re.MULTILINE
)
SIZES = range(1, 121)  # the smallest image of every model is below this


def shown(name: str) -> str:
    return (PAGES / f"{MODELS[name]}.md").read_text(encoding="utf-8")


def made(name: str) -> ModelSummary:
    with torch.device("meta"):
        model = create_model(name)
    assert model.image_shape is not None
    return summary(model, model.image_shape)


def diagram(table: ModelSummary) -> str:
    """The shapes from layer to layer: one line up to each pool, one for the linear layers."""
    shape = "×".join(map(str, table.input_shape))
    lines, line = [], shape
    for row in table.rows:
        if row.kind in ("Dropout", "BatchNorm2d"):
            continue  # they change no shape
        line += f" ─ {row.name} → {'×'.join(map(str, row.output_shape))}"
        if "Pool" in row.kind:
            lines.append(line)
            line = " " * len(shape)
    return "\n".join([*lines, line])


def smallest(name: str) -> int:
    for size in SIZES:
        try:
            with torch.device("meta"):
                create_model(name, image_size=size)
        except ImageTooSmallError:
            continue
        return size
    raise AssertionError(f"{name} takes no image of up to {SIZES[-1]} pixels")


def test_every_model_of_ours_has_a_page() -> None:
    ours = {name for name in list_models() if hasattr(models, name)}  # not what tests register
    assert set(MODELS) == ours
    pages = {path.stem for path in PAGES.glob("*.md")}
    assert pages == {"index", *MODELS.values()}


@pytest.mark.parametrize("name", MODELS)
def test_diagram_and_summary(name: str) -> None:
    table = made(name)
    assert f"```text\n{diagram(table)}\n```" in shown(name)
    assert f"```text\n{table}\n```" in shown(name)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_of_each_call(name: str) -> None:
    rows = CALL.findall(shown(name))
    assert f"{name}(" in {row[0][: len(name) + 1] for row in rows}
    for call, parameters in rows:
        with torch.device("meta"):
            model: Any = eval(call, {name: getattr(models, name)})
        assert f"{sum(p.numel() for p in model.parameters()):,}" == parameters, call


def test_table_of_all_models() -> None:
    rows = ROW.findall((PAGES / "index.md").read_text(encoding="utf-8"))
    assert {name: page for name, page, _ in rows} == MODELS
    for name, _, cells in rows:
        table = made(name)
        assert cells.split(" | ")[-4:] == [
            "×".join(map(str, table.input_shape)),
            f"{smallest(name)}×{smallest(name)}",
            f"{table.parameters:,}",
            f"{table.multiply_adds / 1e6:,.1f}",
        ]


@pytest.mark.parametrize("name", ARTICLES)
def test_article_and_what_was_changed(name: str) -> None:
    for article in ARTICLES[name]:
        assert f"](../articles/{article}.md)" in shown(name)
    assert re.search(r"^## Changed from the articles?$", shown(name), re.MULTILINE)


@pytest.mark.parametrize("name", MODELS)
def test_figure_reached(name: str) -> None:
    """The page has in bold the best figure that the table of all models has of it."""
    rows = FIGURE.findall((PAGES / "index.md").read_text(encoding="utf-8"))
    assert len(rows) >= 5
    figures = sorted((float(figure) for model, figure in rows if model == name), reverse=True)
    section = shown(name).partition("## Figures\n")[2]
    assert "(index.md#figures)" in section
    stated = [float(figure) for figure in re.findall(r"\*\*([\d.]+) ?%\*\*", section)]
    assert stated == figures[:1], f"write **{figures[0]}%** on {MODELS[name]}.md" if figures else ""


@pytest.mark.parametrize("name", MODELS)
def test_what_the_page_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    compared = 0
    with torch.random.fork_rng(devices=[]):
        for code, printed in CODE.findall(shown(name)):
            exec(code, namespace)
            out = capsys.readouterr().out
            assert out.startswith(printed)
            compared += bool(printed)
    assert compared, "the summary at least"


def test_torchvisions_figures_of_its_weights() -> None:
    torchvision_models = pytest.importorskip("torchvision.models")
    rows = PRETRAINED.findall((DOCS / "guides" / "pretrained.md").read_text(encoding="utf-8"))
    assert len(rows) == 5
    for name, accuracy, parameters, multiply_adds in rows:
        meta = torchvision_models.get_model_weights(name).DEFAULT.meta
        assert f"{meta['_metrics']['ImageNet-1K']['acc@1']:.1f}" == accuracy, name
        assert f"{meta['num_params'] / 1e6:.1f}" == parameters, name
        assert f"{meta['_ops'] * 1e3:,.0f}" == multiply_adds, name
