"""A classifier as an ONNX graph: uint8 images in, probabilities out."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from cnnkit._files import atomic_path
from cnnkit.classifier._batches import Network
from cnnkit.classifier._sources import pixels_of
from cnnkit.errors import CnnkitError, DataError, MissingExtraError, ModelError
from cnnkit.metrics import probabilities
from cnnkit.preprocess import Preprocess
from cnnkit.types import PathLike

__all__ = ["write_onnx"]

_OPSET = 18  # the exporter's own; runtimes from 2023 on read it
_LARGEST_DIFFERENCE = 1e-4  # of probabilities; float32 alone makes 1e-6, a wrong graph 1e-2
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class _Graph(nn.Module):
    """What is exported: normalising, the model, probabilities."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.model = model
        mean = torch.tensor(preprocess.mean).view(-1, 1, 1)
        std = torch.tensor(preprocess.std).view(-1, 1, 1)
        # x / 255 / std - mean / std, as Preprocess computes it
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, C) of uint8 images (N, C, H, W)."""
        return probabilities(self.model(images.to(torch.float32) * self.scale - self.shift))


def write_onnx(
    network: Network, classes: tuple[str, ...], path: PathLike, images: Sequence[Any] | None
) -> None:
    """Export, compare with the model, and write the file under its name.

    Raises:
        ModelError: The model cannot be exported, or the graph answers otherwise than it.
        DataError: `images` is empty.
        MissingExtraError: A package of the extra is not installed.
    """
    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise MissingExtraError(package, "onnx", "exporting to ONNX") from error
    network.check_mode()
    model = copy.deepcopy(network.model).cpu().to(memory_format=torch.contiguous_format)
    shown = _pictures(network.preprocess) if images is None else _read(images, network.preprocess)
    content = _graph_of(model, network.preprocess, _metadata(network, classes))
    _compare(content, model, network.preprocess, shown)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _graph_of(model: nn.Module, preprocess: Preprocess, metadata: dict[str, str]) -> bytes:
    """The file's content.

    Raises:
        ModelError: The model cannot be exported.
    """
    example = torch.zeros(2, *preprocess.image_shape, dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own exporter
            exported = _exported(_Graph(model, preprocess).eval(), example)
        for key, value in metadata.items():
            exported.metadata_props.add(key=key, value=value)
        for node in (*exported.graph.node, *(n for f in exported.functions for n in f.node)):
            # Lines of source code with the paths of this machine.
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
        return bytes(exported.SerializeToString())
    except Exception as error:  # exporter and protobuf raise errors of many classes
        raise ModelError(
            f"{type(model).__name__} cannot be exported to ONNX ({_reason(error)}): what it "
            "computes must not depend on the values of its inputs, and must be known to torch.onnx"
        ) from error


def _exported(graph: _Graph, example: Tensor) -> Any:
    """An onnx.ModelProto, made by the exporter that is this torch's default one."""
    common: dict[str, Any] = {
        "input_names": ["images"],
        "output_names": ["probabilities"],
        "opset_version": _OPSET,
        "verbose": False,
    }
    if torch.__version__ >= (2, 9):  # type: ignore[operator]  # a TorchVersion takes it
        batch = {0: torch.export.Dim("batch")}
        program = torch.onnx.export(
            graph, (example,), dynamo=True, dynamic_shapes=(batch,), **common
        )
        assert program is not None
        return program.model_proto
    import onnx

    # Before, the newer exporter could not do batch-norm together with today's onnxscript.
    axes = {"images": {0: "batch"}, "probabilities": {0: "batch"}}
    stream: Any = io.BytesIO()  # the older exporter writes to it as well
    torch.onnx.export(graph, (example,), stream, dynamo=False, dynamic_axes=axes, **common)
    return onnx.load_from_string(stream.getvalue())


def _reason(error: BaseException) -> str:
    """What was wrong first, in one line: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _metadata(network: Network, classes: tuple[str, ...]) -> dict[str, str]:
    values = {
        "classes": list(classes),
        "threshold": network.threshold,
        "preprocess": network.preprocess.to_dict(),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


def _compare(content: bytes, model: nn.Module, preprocess: Preprocess, images: Tensor) -> None:
    """Both on all images together and on each alone: any batch size must do.

    Raises:
        ModelError: They differ, or the graph does not run.
    """
    import onnxruntime

    name = f"the exported graph of {type(model).__name__}"
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for part in (images, *images.split(1)):
            found = torch.from_numpy(session.run(None, {"images": part.numpy()})[0])
            with torch.no_grad():
                expected = probabilities(model(preprocess(part)))
            difference = float((found - expected).abs().max())
            if not difference <= _LARGEST_DIFFERENCE:  # nan is none, either
                raise ModelError(
                    f"{name} differs from the model by {difference:.2g} in a probability on "
                    f"{len(part)} images, more than {_LARGEST_DIFFERENCE:g}, so it is not written: "
                    "what the model computes must not depend on the values of its inputs"
                )
    except CnnkitError:
        raise
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelError(f"{name} does not run, so it is not written: {_reason(error)}") from error


def _read(images: Sequence[Any], preprocess: Preprocess) -> Tensor:
    if not isinstance(images, (list, tuple)) or not images:
        raise DataError(
            "expected a list of at least one image to compare on, received "
            f"{type(images).__name__}{' without any' * isinstance(images, (list, tuple))}"
        )
    return torch.stack([pixels_of(image, preprocess) for image in images])


def _pictures(preprocess: Preprocess) -> Tensor:
    """Made images, uint8 (8, C, H, W): black, white, a gradient, and noise from fine to coarse."""
    channels, height, width = preprocess.image_shape
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.zeros(channels, height, width), torch.ones(channels, height, width)]
    pictures.append(torch.linspace(0, 1, width).expand(channels, height, width))
    for cells in (2, 3, 5, 8, max(height, width)):
        noise = torch.rand(1, channels, cells, cells, generator=generator)
        pictures.append(nn.functional.interpolate(noise, (height, width), mode="nearest")[0])
    return torch.stack(pictures).mul(255).to(torch.uint8)
