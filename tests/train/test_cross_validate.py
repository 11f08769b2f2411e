"""`cross_validate` against a loop of `k_fold` and `fit`, and against scikit-learn."""

from __future__ import annotations

import inspect
import math
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from cross_validation_runs import (
    C,
    Event,
    K,
    N,
    assert_equal,
    build,
    dataset,
    killed,
    run,
    same,
    sends,
    timeless,
    without_seconds,
)
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, roc_auc_score
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from cnnkit import Classifier
from cnnkit.data import (
    ArrayDataset,
    ImageFolder,
    Split,
    augment,
    k_fold,
    make_loaders,
    train_val_split,
)
from cnnkit.device import derived_seed
from cnnkit.errors import (
    ArgumentError,
    ClassMismatchError,
    CnnkitWarning,
    DataError,
    TrainingError,
)
from cnnkit.models import MLP
from cnnkit.train import (
    Callback,
    Comparison,
    FitArguments,
    MeanSd,
    TrainState,
    _folds,
    cross_validate,
    fit,
)

# Data of noise: what `fit` says of it is tested in test_watch.py.
pytestmark = pytest.mark.filterwarnings("ignore::cnnkit.errors.CnnkitWarning")

# The same as a loop


@pytest.mark.parametrize("seed", [0, 5])
def test_folds_are_those_of_a_loop_of_k_fold_and_fit(tmp_path: Path, seed: int) -> None:
    ds, flips = dataset(), [augment.RandomFlip()]
    options: dict[str, Any] = {"epochs": 3, "lr": 0.2, "scheduler": "cosine", "accumulate": 2}
    result = run(ds, **options, augment=flips, seed=seed, out_dir=tmp_path)
    for number, split in enumerate(k_fold(ds, K, seed=seed), start=1):
        loaders = make_loaders(split, 8, augment=flips, device="cpu", seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, number))
            model = build()
        history = fit(model, loaders.train, loaders.val, progress=False, seed=seed, **options)
        assert same(result.model(number), model)
        assert timeless(result)[number - 1]["rows"] == list(map(without_seconds, history.rows))
    assert not same(result.model(1), result.model(2))


def test_each_fold_is_normalised_by_its_own_training_part() -> None:
    ds = dataset()
    result = run(ds)
    pixels = ds.images.double().numpy() / 255
    for fold in result.folds:
        kept = np.delete(pixels, fold.indices.numpy(), axis=0)
        assert fold.preprocess.mean == pytest.approx([kept.mean()], abs=1e-6)
        assert fold.preprocess.std == pytest.approx([kept.std()], abs=1e-6)
    assert len({fold.preprocess.mean for fold in result.folds}) == K


def test_global_random_states_are_untouched_and_do_not_matter(tmp_path: Path) -> None:
    def drawn_everywhere() -> MLP:
        model = build()
        with torch.no_grad():
            first = next(model.parameters())
            first[0, 0] = random.random()
            first[0, 1] = float(np.random.rand())
        return model

    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())]

    before = states()
    one = run(build_model=drawn_everywhere, out_dir=tmp_path / "one")
    one.refit(epochs=1)
    assert states() == before
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    other = run(build_model=drawn_everywhere, out_dir=tmp_path / "other")
    assert_equal(one, other)


def test_groups_stay_together_and_may_come_as_an_iterator() -> None:
    groups = [i // 4 for i in range(N)]
    result = run(groups=iter(groups), settings={"a": {}, "b": {"lr": 0.2}})
    for one in result.results.values():
        held = [{groups[i] for i in fold.indices.tolist()} for fold in one.folds]
        assert sum(map(len, held)) == len(set(groups))


def test_a_foreign_data_set() -> None:
    class Foreign:
        targets = dataset().targets.tolist()

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return dataset()[index]

    assert run(Foreign(), epochs=1).report.samples == N


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        file = tmp_path / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("L", (6, 6), 20 * number).save(file)
    read: list[str] = []
    original = ImageFolder._read_pixels

    def noted(self: ImageFolder, path: str) -> Any:
        read.append(path)
        return original(self, path)

    monkeypatch.setattr(ImageFolder, "_read_pixels", noted)
    result = run(ImageFolder(tmp_path, mode="L"), partial(build, 2))
    assert len(read) == len(set(read)) == 12
    wrong = {mistake.path for mistake in result.report.mistakes}
    assert wrong <= set(read)


# Out of fold


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_out_of_fold_figures_are_those_of_scikit_learn(
    tmp_path: Path, classes: int, weighted: bool
) -> None:
    weights = torch.tensor([0.5, 2.0, 1.0][:classes])
    loss = nn.CrossEntropyLoss(weights) if weighted else None
    ds = dataset(classes, n=41)  # folds of different sizes
    result = run(ds, partial(build, classes), epochs=4, loss=loss, out_dir=tmp_path)
    chances = np.full((len(ds), classes), np.nan)
    for fold in result.folds:  # as cross_val_predict does
        mean, std = fold.preprocess.mean[0], fold.preprocess.std[0]
        images = (ds.images[fold.indices] / 255 - mean) / std
        chances[fold.indices] = result.model(fold.number)(images).double().softmax(1).detach()
    true, predicted = ds.targets.numpy(), chances.argmax(1)
    report = result.report
    assert 0.4 < report.accuracy < 1
    assert report.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert (report.confusion_matrix.numpy() == confusion_matrix(true, predicted)).all()
    assert {m.index for m in report.mistakes} == set(np.flatnonzero(true != predicted).tolist())
    assert [m.true for m in report.mistakes] == [str(true[m.index]) for m in report.mistakes]
    most = [m.probability for m in report.mistakes]
    assert most == sorted(most, reverse=True)
    own = weights.numpy()[true] if weighted else None
    assert report.loss == pytest.approx(log_loss(true, chances, sample_weight=own), rel=1e-5)
    by_class = [chances[true == label, label].mean() for label in range(classes)]
    assert report.details.own_probability.tolist() == pytest.approx(by_class, rel=1e-5)
    if classes == 2:
        assert report.binary.roc_area == pytest.approx(roc_auc_score(true, chances[:, 1]))


def test_mistakes_are_indices_into_the_data_set_given_though_it_is_a_part(tmp_path: Path) -> None:
    whole = dataset(n=80)
    part = train_val_split(whole, val=0.4, seed=3).train
    assert part.indices.tolist() != list(range(len(part)))
    result = run(part, lr=0.01)
    assert sorted(torch.cat([f.indices for f in result.folds]).tolist()) == list(range(len(part)))
    assert len(result.report.mistakes) > 5
    for mistake in result.report.mistakes:
        assert mistake.true == str(part[mistake.index][1])
    for fold in result.folds:
        assert {m.index for m in fold.report.mistakes} <= set(fold.indices.tolist())


def test_scores_and_their_means() -> None:
    result = run(epochs=6, lr=2.0, monitor="val_acc")
    assert result.monitor == "val_acc"
    columns = [history.column("val_acc") for history in result.histories]
    assert result.scores == [max(column) for column in columns]
    assert result.best_score.mean == pytest.approx(np.mean(result.scores))
    assert result.score.sd == pytest.approx(np.std(result.scores, ddof=1))
    lasts = [column[-1] for column in columns]
    assert lasts != result.scores
    assert result.last_score == pytest.approx((np.mean(lasts), np.std(lasts, ddof=1)))
    assert [fold.report.accuracy for fold in result.folds] == pytest.approx(result.scores)
    assert result.accuracy == pytest.approx(result.score)
    kept_last = run(epochs=6, lr=2.0, monitor="val_acc", restore_best=False)
    assert kept_last.scores == lasts
    assert kept_last.best_score == result.best_score
    assert math.isnan(MeanSd.of([]).mean)
    assert math.isnan(MeanSd.of([1.0]).sd)


def test_a_run_that_ended_with_nan_is_a_finished_fold_without_a_score(tmp_path: Path) -> None:
    result = run(lr=1e30, epochs=3, out_dir=tmp_path)
    assert [history.stop_reason for history in result.histories] == ["nan"] * K
    assert math.isnan(result.score.mean)
    assert result.report.samples == N
    with pytest.raises(TrainingError, match="no fold has a best epoch"):
        result.refit()
    both = run(epochs=3, settings={"wild": {"lr": 1e30}, "tame": {}})
    assert both.best.name == "tame"
    assert run(epochs=1, settings={"wild": {"lr": 1e30}}).stop_reason == "finished"
    with pytest.raises(TrainingError, match="no setting has finished"):
        _ = run(epochs=2, settings={"wild": {"lr": 1e30}}).best


def test_prints_as_a_table_that_says_what_it_is_worth() -> None:
    result = run()
    lines = str(result).splitlines()
    header = "fold epochs best epoch val_loss last val_loss accuracy seconds"
    assert " ".join(lines[0].split()) == header
    assert lines[1].split()[:2] == ["1", "2"]
    assert f"{result.score.mean:.4f} ± {result.score.sd:.4f}" in lines[K + 1]
    right, total = result.report.correct, N
    assert f"accuracy {right / total:.1%} ({right} of {total}), 95% interval" in lines[K + 2]
    assert "chosen on these samples" in lines[-1]
    assert "chosen on" not in str(run(restore_best=False))
    assert repr(result).startswith("CrossValidation(3 of 3 folds, val_loss=")


def test_progress_names_the_folds(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert capsys.readouterr().out == ""
    result = run(progress=True, epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("epoch")] == [
        line
        for fold in result.folds
        for line in (
            f"fold {fold.number} of 3",
            f"fold {fold.number} of 3: val_loss {fold.score:.4f}, "
            f"accuracy {fold.report.accuracy:.1%}",
        )
    ]


# Several settings


def test_settings_are_compared_on_the_same_folds() -> None:
    settings: dict[str, dict[str, Any]] = {
        "slow": {"lr": 0.001},
        "adam": {"optimizer": "adam", "lr": 0.01},
        "wide": {"build_model": lambda: MLP(C, image_size=6, hidden=(64,)), "batch_size": 4},
        "long": {"epochs": 4, "scheduler": "one_cycle"},
    }
    comparison = run(settings=settings)
    assert isinstance(comparison, Comparison)
    assert list(comparison.results) == list(settings)
    for name, own in settings.items():
        alone = run(**own)
        assert timeless(alone) == timeless(comparison.results[name])
        held = [fold.indices.tolist() for fold in comparison.results[name].folds]
        assert held == [fold.indices.tolist() for fold in alone.folds]
    means = {name: result.score.mean for name, result in comparison.results.items()}
    assert comparison.best.name == min(means, key=lambda name: means[name])
    ranked = sorted(means, key=lambda name: means[name])
    best, second = (comparison.results[name].scores for name in ranked[:2])
    won = sum(a < b for a, b in zip(best, second, strict=True))
    lines = str(comparison).splitlines()
    assert lines[0].split() == ["setting", "val_loss", "accuracy", "of", "each", "fold", "seconds"]
    assert [line.split()[0] for line in lines[1:5]] == list(settings)
    assert lines[5] == f"best val_loss: {ranked[0]}, better than {ranked[1]} in {won} of 3 folds"
    assert "the best of 4 was chosen by these folds" in lines[6]
    assert repr(comparison) == "Comparison(slow, adam, wide, long, monitor='val_loss')"


def test_the_best_accuracy_is_the_largest() -> None:
    settings = {"none": {"lr": 0.0}, "some": {"lr": 0.1}}
    comparison = run(settings=settings, monitor="val_acc", epochs=3)
    accuracies = {n: r.accuracy.mean for n, r in comparison.results.items()}
    assert accuracies["some"] > accuracies["none"]
    assert comparison.best.name == "some"


def test_a_setting_may_be_added_and_each_has_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(out_dir=tmp_path, settings={"lr 0.1": {}})
    calls: list[str] = []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(options["checkpoint_dir"].parents[1].name)
        return fit(*args, **options)

    monkeypatch.setattr(_folds, "fit", counted)
    comparison = run(out_dir=tmp_path, settings={"lr 0.1": {}, "Größe/2": {"batch_size": 4}})
    assert calls == ["Größe-2"] * K
    assert (tmp_path / "summary.txt").read_text() == f"{comparison}\n"
    assert (tmp_path / "lr-0.1" / "fold-3" / "weights.pt").exists()
    with pytest.raises(ArgumentError, match=r"lr-0\.1 holds .*lr was 0\.1, is 0\.3"):
        run(out_dir=tmp_path, settings={"lr 0.1": {"lr": 0.3}})


def test_a_comparison_that_was_cut_short_says_so(tmp_path: Path) -> None:
    event = Event(2, 2, sends(signal.SIGINT))
    settings: dict[str, dict[str, Any]] = {"a": {}, "b": {"callbacks": event.of_fold}, "c": {}}
    comparison = run(settings=settings, out_dir=tmp_path)
    assert comparison.stop_reason == "interrupted"
    assert list(comparison.results) == ["a", "b"]
    assert comparison.best.name == "a"
    text = str(comparison)
    assert "b (1 of 3)" in text
    assert "not begun (interrupted): c" in text
    assert "was chosen" not in text
    assert run(settings=settings, out_dir=tmp_path).stop_reason == "finished"


# All the data


def test_refit_is_fit_on_all_the_data(tmp_path: Path) -> None:
    ds, flips = dataset(), [augment.RandomFlip()]
    result = run(ds, augment=flips, epochs=4, lr=1.0, monitor="val_acc", out_dir=tmp_path)
    best = [max(h.rows, key=lambda row: row["val_acc"])["epoch"] for h in result.histories]
    assert len(set(best)) > 1
    refitted = result.refit()
    model, history, loader = refitted
    assert len(history) == round(np.mean(best))
    loaders = make_loaders(Split(ds), 8, augment=flips, device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(0, 0))
        expected = build()
    fit(expected, loaders.train, epochs=len(history), lr=1.0, progress=False)
    assert same(model, expected)
    assert not model.training
    assert loader.preprocess == loaders.train.preprocess
    shipped = Classifier.from_loader(model, loader, report=result.report)
    assert shipped.classes == ds.classes
    assert (tmp_path / f"refit-{len(history)}-epochs").is_dir()
    assert same(result.refit().model, model)  # read, not trained
    assert len(result.refit(epochs=1).history) == 1


def test_refit_takes_all_epochs_where_the_last_was_kept() -> None:
    result = run(epochs=3, lr=1.0, restore_best=False, callbacks=Event(0, 0, killed).of_fold)
    assert len(result.refit().history) == 3


def test_refit_asks_no_callback_and_no_monitor() -> None:
    class Refuses(Callback):
        def on_fit_start(self, state: TrainState) -> None:
            assert state.history.monitor == "val_loss"

    result = run(callbacks=[Refuses()], scheduler="plateau", evaluate_first=True)
    assert result.refit(epochs=2).history.monitor is None


# Callbacks and other arguments


def test_each_fold_has_callbacks_of_its_own() -> None:
    instances: list[Remembers] = []

    class Remembers(Callback):
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def on_fit_start(self, state: TrainState) -> None:
            instances.append(self)

        def on_epoch_end(self, state: TrainState) -> None:
            self.epochs.append(state.epoch)

    given = Remembers()
    run(callbacks=given)
    assert given.epochs == []
    assert [one.epochs for one in instances] == [[1, 2]] * K
    asked = Mock(return_value=[])
    run(callbacks=asked, epochs=1)
    assert [call.args for call in asked.call_args_list] == [(1,), (2,), (3,)]


def test_callbacks_that_cannot_be_copied() -> None:
    class Holds(Callback):
        def __init__(self) -> None:
            self.stream = open(os.devnull)  # noqa: SIM115, PTH123

    callback = Holds()
    with callback.stream, pytest.raises(ArgumentError, match="callbacks cannot be copied"):
        run(callbacks=[callback])


def test_fit_arguments_are_those_of_fit() -> None:
    parameters = inspect.signature(fit).parameters.values()
    names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    own = set(inspect.signature(cross_validate).parameters) | {"checkpoint_dir", "resume"}
    assert names - own == set(FitArguments.__annotations__)


def refused(what: str, **options: Any) -> None:
    """The error comes before any training."""
    event = Event(0, 0, killed)
    with pytest.raises(ArgumentError, match=what):
        run(**{"callbacks": event.of_fold, **options})
    assert event.steps == 0


def test_instances_that_belong_to_a_model_are_refused() -> None:
    optimizer = torch.optim.SGD(build().parameters(), lr=0.1)
    what = "optimizer is an instance of SGD.*give its name, or a class"
    refused(what, optimizer=optimizer, lr=None)
    refused(f"setting 'b': {what}", settings={"a": {}, "b": {"optimizer": optimizer}})
    refused("scheduler is an instance of StepLR", scheduler=StepLR(optimizer, 1))
    assert run(optimizer=torch.optim.Adam, lr=0.01, epochs=1).complete


def test_build_model_must_make_a_new_model_each_time() -> None:
    model = build()
    refused("must be a function that makes a new model.*received MLP", build_model=model)
    refused(r"must return a model \(nn.Module\), received int", build_model=lambda: 3)
    refused("the parameters of the model before", build_model=lambda: model)
    backbone = nn.Linear(36, 8)
    refused(
        "the parameters of the model before",
        build_model=lambda: nn.Sequential(nn.Flatten(), backbone, nn.Linear(8, C)),
    )


def test_a_model_that_was_trained_before() -> None:
    def trained(classes: str) -> MLP:
        ds = ArrayDataset(dataset().images, dataset().targets, classes=classes)
        loaders = make_loaders(Split(ds), 8, device="cpu")
        model = build()
        fit(model, loaders.train, epochs=1, progress=False)
        return model

    with pytest.raises(ClassMismatchError, match=r"0: a, 1: b, 2: c.*0: 0, 1: 1, 2: 2"):
        run(build_model=lambda: trained("abc"))
    with pytest.warns(CnnkitWarning, match="was trained before: if it has seen any"):
        run(build_model=lambda: trained("012"), epochs=1)


def test_arguments_that_make_no_sense() -> None:
    refused("'learning_rate' is no argument here; there are lr, ", learning_rate=3)
    refused("'a': 'k' is no argument here; there are build_model, ", settings={"a": {"k": 3}})
    refused("checkpoint_dir is not given to cross_validate: out_dir=", checkpoint_dir="here")
    refused("setting 'b': 'learn'", settings={"a": {}, "b": {"learn": 3}})
    refused("settings is empty", settings={})
    refused("received 3 of 'a'", settings={"a": 3})
    refused("'A-1' has no name.*'a 1' is too much like it", settings={"a 1": {}, "A-1": {}})
    refused("'..' has no name for a folder", settings={"..": {}})
    two: dict[str, dict[str, Any]] = {"a": {"monitor": "val_acc"}, "b": {}}
    refused(r"one figure, received monitor=\['val_acc', 'val_loss'\]", settings=two)
    refused("epochs must be a positive int, received 0", settings={"a": {}, "b": {"epochs": 0}})
    refused("optimizer must be one of", settings={"a": {}, "b": {"optimizer": "adma"}})
    refused("accumulate must be a positive int", accumulate=0)
    refused("k must be an int from 2 to the number of samples, 43; received 1", k=1)
    with pytest.raises(DataError, match="class"):
        run(k=20)
