"""The file of a `Classifier`: the same answers after loading, and nothing but what `save` wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from torch import nn

from cnnkit import Classifier, Preprocess
from cnnkit.data import ImageFolder, make_loader
from cnnkit.errors import (
    ClassMismatchError,
    CnnkitWarning,
    ModelError,
    NotFoundError,
    SavedFileError,
)
from cnnkit.metrics import Report
from cnnkit.models import MLP, ThreeConvCIFAR, TwoLayerCNN, from_torchvision
from cnnkit.train import evaluate

PREPROCESS = Preprocess(
    (16, 20), "RGB", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4),
    resize="crop", interpolation="bicubic", exact_decode=True,
)  # fmt: skip
REPORT = Report([[8, 2, 0], [1, 9, 0], [0, 0, 5]], ["cat", "dog", "Käfer"], 0.4)


def picture(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (30, 25, 3), dtype=np.uint8)


def classifier(model: nn.Module | None = None, **options: Any) -> Classifier:
    if model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = MLP(3, in_channels=3, image_size=(16, 20), hidden=(8,))
    return Classifier(model, REPORT.classes, PREPROCESS, **{"report": REPORT, **options})


def answers(one: Classifier) -> list[dict[str, float]]:
    return [one.predict(picture(seed)).probabilities for seed in range(5)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "pets.pt"
    classifier().save(path)
    return path


def load(path: Path, **options: Any) -> Classifier:
    return Classifier.load(path, device="cpu", **options)


# --- there and back ------------------------------------------------------------------------------


def test_a_loaded_classifier_is_the_same(saved: Path) -> None:
    one, again = classifier(), load(saved)
    assert answers(again) == answers(one)
    assert again.classes == ("cat", "dog", "Käfer")
    assert again.preprocess == PREPROCESS
    assert again.threshold == one.threshold
    assert again.report is not None
    assert again.report.to_dict() == REPORT.to_dict()
    assert type(again.model) is MLP
    assert again.model.arguments == one.model.arguments
    assert not again.model.training
    assert not any(p.requires_grad for p in again.model.parameters())
    assert again.device == torch.device("cpu")


def test_a_fresh_process_gives_the_same_answers(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(picture()).save(path)
    code = (
        "import sys\n"
        "from cnnkit import Classifier\n"
        "found = Classifier.load(sys.argv[1], device='cpu').predict(sys.argv[2])\n"
        "print(repr(found.probabilities))\n"
        "print('torchvision' in sys.modules, 'matplotlib' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved), str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    expected = classifier().predict(path).probabilities
    assert done.stdout.splitlines() == [repr(expected), "False False"]


def test_date_and_versions_come_back(saved: Path) -> None:
    found = load(saved).provenance
    assert found is not None
    assert classifier().provenance is None
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["saved"])
    assert 0 <= age.total_seconds() < 600
    versions = found["versions"]
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions["pillow"] == PIL.__version__
    assert versions["numpy"] == np.__version__
    assert set(versions) == {"python", "cnnkit", "torch", "torchvision", "numpy", "pillow"}


def test_the_file_has_no_paths_of_the_test_images(tmp_path: Path) -> None:
    for label in ("dark", "light"):
        for number in range(4):
            path = tmp_path / "secret" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number)).save(path)
    ds = ImageFolder(tmp_path / "secret", image_size=16)
    loader = make_loader(ds, 4, device="cpu")
    model = MLP(2, in_channels=3, image_size=16, hidden=(8,))
    report = evaluate(model, loader)
    assert [Path(str(m.path)).parent.parent.name for m in report.mistakes] == ["secret"] * 4
    Classifier.from_loader(model, loader, report=report).save(tmp_path / "one.pt")
    assert b"secret" not in (tmp_path / "one.pt").read_bytes()
    again = load(tmp_path / "one.pt").report
    assert again is not None
    assert str(report).startswith(str(again)), "all but what is known of single images"
    assert again.accuracy_interval == report.accuracy_interval


def test_weights_lie_in_the_file_as_torch_makes_them(tmp_path: Path) -> None:
    classifier(ThreeConvCIFAR(3, image_size=(16, 20))).save(tmp_path / "one.pt")
    weights = torch.load(tmp_path / "one.pt", weights_only=True)["weights"]
    assert all(tensor.is_contiguous() for tensor in weights.values())


def test_a_warning_about_the_threshold_is_not_repeated(tmp_path: Path) -> None:
    report = Report([[1, 0], [0, 1]], ["no", "yes"], threshold=0.7)
    model = MLP(2, in_channels=3, image_size=(16, 20), binary=True)
    with pytest.warns(CnnkitWarning, match=r"0\.7"):
        one = Classifier(model, ["no", "yes"], PREPROCESS, report=report, threshold=0.4)
    one.save(tmp_path / "one.pt")
    again = load(tmp_path / "one.pt")
    assert again.threshold == 0.4
    assert again.report is not None
    assert again.report.threshold == 0.7


def test_saving_what_was_loaded_changes_nothing(saved: Path, tmp_path: Path) -> None:
    load(saved).save(tmp_path / "again.pt")
    assert answers(load(tmp_path / "again.pt")) == answers(classifier())


@pytest.mark.parametrize(
    "model",
    [
        TwoLayerCNN(3, in_channels=3, image_size=(16, 20)),
        ThreeConvCIFAR(3, image_size=(16, 20)),
        MLP(3, in_channels=3, image_size=(16, 20), hidden=(), dropout=0.5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_each_model_comes_back(model: nn.Module, tmp_path: Path) -> None:
    one = classifier(model)
    one.save(tmp_path / "one.pt")
    assert answers(load(tmp_path / "one.pt")) == answers(one)


def test_threshold_and_missing_report_come_back(tmp_path: Path) -> None:
    model = MLP(2, in_channels=3, image_size=(16, 20), binary=True)
    one = Classifier(model, ["no", "yes"], PREPROCESS, threshold=0.75)
    one.save(tmp_path / "one.pt")
    again = load(tmp_path / "one.pt")
    assert (again.threshold, again.report) == (0.75, None)
    assert answers(again) == answers(one)


def test_batch_norm_statistics_come_back(tmp_path: Path) -> None:
    model = TwoLayerCNN(3, in_channels=3, image_size=(16, 20))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    one = classifier(model)
    one.save(tmp_path / "one.pt")
    assert answers(load(tmp_path / "one.pt")) == answers(one)


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "models" / "first" / "pets.pt"
    classifier().save(path)
    classifier().save(str(path))
    assert [file.name for file in path.parent.iterdir()] == ["pets.pt"]


def test_a_threshold_of_numpy_comes_back(tmp_path: Path) -> None:
    model = MLP(2, in_channels=3, image_size=(16, 20), binary=True)
    one = Classifier(model, ["no", "yes"], PREPROCESS, threshold=np.float64(0.75))
    one.save(tmp_path / "one.pt")
    assert load(tmp_path / "one.pt").threshold == 0.75


def test_loading_leaves_the_random_state(saved: Path) -> None:
    before = torch.get_rng_state()
    load(saved)
    assert torch.equal(torch.get_rng_state(), before)


# --- models that are in no list ------------------------------------------------------------------


def own_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(960, 3))


def other_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(960, 4))


def test_a_model_of_ones_own_needs_a_builder(tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    with pytest.raises(ModelError, match=r"Sequential is not in list_models.*builder="):
        classifier(own_model()).save(path)
    assert list(tmp_path.iterdir()) == []
    one = classifier(own_model(), builder=own_model)
    one.save(path)
    with pytest.raises(ModelError, match=r"own\.pt.*own_model.*builder="):
        load(path)
    again = load(path, builder=own_model)
    assert answers(again) == answers(one)
    again.save(tmp_path / "again.pt")
    assert answers(load(tmp_path / "again.pt", builder=own_model)) == answers(one)
    with pytest.raises(ModelError, match=r"(?s)own\.pt do not fit.*4, 960"):
        load(path, builder=other_model)


def test_no_name_in_a_file_is_imported(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    path = altered(saved, tmp_path / "own.pt", model=None, builder="trap_module.build")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(ModelError, match=r"own\.pt.*trap_module\.build.*builder="):
            load(path)
    finally:
        sys.path.remove(str(tmp_path))
    assert "trap_module" not in sys.modules


def test_a_builder_must_build(saved: Path, tmp_path: Path) -> None:
    def nothing() -> Any:
        return None

    def broken() -> nn.Module:
        raise RuntimeError("no weights on this disk")

    with pytest.raises(ModelError, match=r"builder must return.*nothing returned NoneType"):
        load(saved, builder=nothing)
    with pytest.raises(ModelError, match=r"builder must return.*nothing returned NoneType"):
        classifier(own_model(), builder=nothing).save(tmp_path / "own.pt")
    with pytest.raises(RuntimeError, match="no weights on this disk"):
        load(saved, builder=broken)


def test_a_builder_that_is_handed_is_used(saved: Path) -> None:
    built: list[nn.Module] = []

    def build() -> nn.Module:
        built.append(MLP(3, in_channels=3, image_size=(16, 20), hidden=(8,)))
        return built[0]

    assert answers(load(saved, builder=build)) == answers(load(saved))
    assert len(built) == 1


def changed_model() -> MLP:
    """A model of the list with another last layer, as one changes it for other classes."""
    model = MLP(10, in_channels=3, image_size=(16, 20), hidden=(8,))
    model.fc2 = nn.Linear(8, 3)
    return model


def test_a_changed_model_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "changed.pt"
    with pytest.raises(ModelError, match="builder="):
        classifier(changed_model()).save(path)
    assert not path.exists()


def test_a_changed_model_with_a_builder_comes_back(tmp_path: Path) -> None:
    one = classifier(changed_model(), builder=changed_model)
    one.save(tmp_path / "changed.pt")
    assert answers(load(tmp_path / "changed.pt", builder=changed_model)) == answers(one)


# --- files that are refused ----------------------------------------------------------------------


def test_there_is_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "pets.pt", tmp_path):
        with pytest.raises(NotFoundError, match=path.name):
            load(path)


def test_a_file_that_is_cut_is_refused_wherever(saved: Path, tmp_path: Path) -> None:
    whole, path = saved.read_bytes(), tmp_path / "cut.pt"
    ends = {0, 1, 4, len(whole) - 1, len(whole) - 22, *range(0, len(whole), len(whole) // 40)}
    for end in sorted(ends - {len(whole)}):
        path.write_bytes(whole[:end])
        with pytest.raises(SavedFileError, match=r"cut\.pt is not a whole saved Classifier"):
            load(path)
    path.write_bytes(whole)
    load(path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["alone", "beside"])
def test_code_in_a_file_is_refused_and_not_run(saved: Path, tmp_path: Path, where: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "evil.pt"
    content = torch.load(saved, weights_only=True)
    torch.save(Evil(trap) if where == "alone" else {**content, "report": Evil(trap)}, path)
    with pytest.raises(SavedFileError, match=r"evil\.pt"):
        load(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "this file is one that runs code"


@pytest.mark.parametrize("kind", ["state dict", "whole model", "tensor", "text", "image", "zip"])
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other.pt"
    if kind == "text":
        path.write_text("classes: cat, dog")
    elif kind == "image":
        Image.fromarray(picture()).save(path, format="png")
    elif kind == "zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("cat/1.png", b"")
    else:
        content: dict[str, Any] = {
            "state dict": own_model().state_dict(), "whole model": own_model(),
            "tensor": torch.zeros(3),
        }  # fmt: skip
        torch.save(content[kind], path)
    with pytest.raises(SavedFileError, match=r"other\.pt.*Classifier\.save"):
        load(path)


def altered(saved: Path, path: Path, /, **changes: Any) -> Path:
    content = {**torch.load(saved, weights_only=True), **changes}
    torch.save({key: value for key, value in content.items() if value != "gone"}, path)
    return path


def test_a_newer_format_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(SavedFileError, match=r"newer\.pt has format 2, .* up to 1: upgrade"):
        load(altered(saved, tmp_path / "newer.pt", format=2))


def test_weights_that_do_not_fit_are_refused(saved: Path, tmp_path: Path) -> None:
    weights = torch.load(saved, weights_only=True)["weights"]
    weights["fc2.weight"] = weights["fc2.weight"][:2]
    with pytest.raises(ModelError, match=r"(?s)wrong\.pt do not fit.*fc2\.weight"):
        load(altered(saved, tmp_path / "wrong.pt", weights=weights))


def test_classes_that_do_not_fit_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"2 classes.*\(1, 2\).*received \(1, 3\)"):
        load(altered(saved, tmp_path / "wrong.pt", classes=["a", "b"], report=None))
    with pytest.raises(ClassMismatchError):
        load(altered(saved, tmp_path / "wrong.pt", classes=["a", "b", "c"]))


@pytest.mark.parametrize(
    "change",
    [
        *({key: "gone"} for key in ("format", "model", "weights", "classes", "preprocess",
                                    "threshold", "report", "saved", "versions")),
        {"format": "one"}, {"model": 5}, {"model": {"arguments": {}}}, {"weights": 5},
        {"classes": 5}, {"preprocess": {"mode": "RGB"}}, {"report": 5},
        {"model": {"name": "MLP", "arguments": {"depth": 3}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_with_a_part_missing_or_wrong_is_refused(
    saved: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises((SavedFileError, ModelError), match=r"wrong\.pt"):
        load(altered(saved, tmp_path / "wrong.pt", **change))


# --- saving that fails ---------------------------------------------------------------------------


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pets.pt"
    classifier().save(path)
    before = path.read_bytes()

    def half(content: Any, target: IO[bytes]) -> None:
        target.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        classifier(MLP(3, in_channels=3, image_size=(16, 20))).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["pets.pt"]
    with pytest.raises(OSError, match="disk full"):
        classifier().save(tmp_path / "new.pt")
    assert not (tmp_path / "new.pt").exists()


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "pets.pt").mkdir()
    with pytest.raises(OSError, match=r"pets\.pt"):
        classifier().save(tmp_path / "pets.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["pets.pt"]


class Drawing(nn.Module):
    """Draws random numbers in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(images.flatten(1))
        return logits + torch.rand_like(logits)


def test_a_layer_without_weights_that_was_changed_is_noticed(tmp_path: Path) -> None:
    pixels = Preprocess(16, "RGB", (0.5,) * 3, (0.5,) * 3)
    model: Any = ThreeConvCIFAR(3, image_size=16)
    Classifier(model, "abc", pixels).save(tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    model.pool1 = nn.AvgPool2d(2)
    with pytest.raises(ModelError, match=r"ThreeConvCIFAR.*would answer otherwise.*builder="):
        Classifier(model, "abc", pixels).save(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == before

    def builder() -> nn.Module:
        made: Any = ThreeConvCIFAR(3, image_size=16)
        made.pool1 = nn.AvgPool2d(2)
        other: nn.Module = made
        return other

    Classifier(model, "abc", pixels, builder=builder).save(tmp_path / "a.pt")
    found = Classifier.load(tmp_path / "a.pt", device="cpu", builder=builder)
    image = torch.rand(3, 16, 16).mul(255).to(torch.uint8)
    assert found.predict(image) == Classifier(model, "abc", pixels).predict(image)


def test_a_model_that_draws_is_saved_as_it_is(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    classifier = Classifier(
        Drawing(), "ab", Preprocess(2, "RGB", (0.5,) * 3, (0.5,) * 3), builder=Drawing
    )
    torch.set_rng_state(state)
    classifier.save(tmp_path / "a.pt")
    assert torch.equal(torch.get_rng_state(), state)
    Classifier.load(tmp_path / "a.pt", builder=Drawing)


def test_numbers_of_numpy_are_written(tmp_path: Path) -> None:
    number: Any = np.int64(3)
    model = from_torchvision("squeezenet1_1", number)
    classifier = Classifier(model, "abc", Preprocess(32, "RGB", (0.5,) * 3, (0.5,) * 3))
    classifier.save(tmp_path / "a.pt")
    assert Classifier.load(tmp_path / "a.pt", device="cpu").classes == ("a", "b", "c")


def test_options_that_are_no_plain_values_need_a_builder(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return from_torchvision("resnet18", 3, norm_layer=partial(nn.BatchNorm2d, eps=1e-3))

    pixels = Preprocess(32, "RGB", (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(ModelError, match=r"resnet18 was made with.*norm_layer.*builder="):
        Classifier(build(), "abc", pixels).save(tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").exists()
    Classifier(build(), "abc", pixels, builder=build).save(tmp_path / "a.pt")
    assert Classifier.load(tmp_path / "a.pt", device="cpu", builder=build).classes[2] == "c"
