"""What the documentation shows runs, what it links to is there, and no public name is left out.

Every ``python`` block is run, those of one page in order and with one namespace, in a folder with a
few small pets. A block that cannot run says why in a comment on the line above its fence::

    <!-- not run: needs a network -->

One for another library says which, and is run where that is installed, as `nox -s peers` does::

    <!-- needs skorch -->
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import cnnkit

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [*sorted(DOCS.glob("**/*.md")), README, ROOT / "CHANGELOG.md"]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md"]
LANGUAGES = {"python", "sh", "text"}  # no `py` or `pycon`, which nothing would run
IMAGES_A_CLASS = 24

FENCED = re.compile(r"^(.*)\n```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: (.*) -->")
NEEDS = re.compile(r"<!-- needs (\w+) -->")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    above: str  # the line above the fence
    language: str
    code: str
    line: int  # of the first line of code, counted from 1


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a Markdown text."""
    return [
        Block(m[1], m[2], m[3], text[: m.start(3)].count("\n") + 1) for m in FENCED.finditer(text)
    ]


def run_block(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """Run a block of a page; an error shows the page and the line in it."""
    exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)


def run_blocks(text: str, page: str) -> int:
    """Run the python blocks of a page in one namespace; how many that were."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    for block in blocks(text):
        if block.language == "python" and not (
            NOT_RUN.fullmatch(block.above) or NEEDS.fullmatch(block.above)
        ):
            run_block(block, page, namespace)
            ran += 1
    return ran


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pets/, pets.zip, cat.jpg, labels.csv, and animals.zip with train/ and test/."""
    folder = tmp_path_factory.mktemp("pets")
    generator = np.random.default_rng(0)
    rows = ["file,animal"]
    for animal in ("cat", "dog"):
        (folder / "pets" / animal).mkdir(parents=True)
        for number in range(IMAGES_A_CLASS):
            file = f"{animal}/{number:03}.jpg"
            draw(animal, generator).save(folder / "pets" / file, quality=90)
            rows.append(f"{file},{animal}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    draw("cat", generator).save(folder / "cat.jpg")
    files = sorted((folder / "pets").glob("*/*.jpg"))
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        for path in files:
            archive.write(path, path.relative_to(folder / "pets"))
    with zipfile.ZipFile(folder / "animals.zip", "w") as archive:
        for number, path in enumerate(files):
            part = "train" if number % 3 else "test"
            archive.write(path, Path(part, path.relative_to(folder / "pets")))
    return folder


def draw(animal: str, generator: np.random.Generator) -> Image.Image:
    """150 x 120 pixels of noise with a round orange cat or a square blue dog on it."""
    image = Image.fromarray(generator.integers(90, 166, (120, 150, 3), dtype=np.uint8))
    left, top, size = (int(n) for n in generator.integers([5, 5, 50], [60, 40, 75]))
    box = (left, top, left + size, top + size)
    if animal == "cat":
        ImageDraw.Draw(image).ellipse(box, fill=(230, 140, 40))
    else:
        ImageDraw.Draw(image).rectangle(box, fill=(50, 90, 200))
    return image


# A page trains for a few epochs, to be quick; after how many a loss still falls differs by torch.
@pytest.mark.filterwarnings("ignore:.*still falling fast at the last:cnnkit.errors.CnnkitWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if page != README], ids=name_of)
def test_code_of_the_page_runs(
    page: Path, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    if "```python" not in text:
        return
    shutil.copytree(pets, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CNNKIT_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # as many as the machine has is many times slower when it is busy
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of initial weights
            assert run_blocks(text, str(page)) > 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("library", "written"),
    [
        ("fastai", "pets/pets.pkl"),
        ("lightning", "lightning_logs/**/*.ckpt"),
        ("keras", "pets.keras"),
        ("skorch", "pets.pt"),
    ],
)
def test_code_for_another_library_runs(
    library: str, written: str, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(library)
    page = DOCS / "coming-from.md"
    (block,) = [
        b for b in blocks(page.read_text("utf-8")) if b.above == f"<!-- needs {library} -->"
    ]
    if library == "fastai":  # whose pretrained weights would be downloaded
        vision: Any = importlib.import_module("fastai.vision.all")
        without = functools.partial(vision.vision_learner, pretrained=False)
        monkeypatch.setattr(vision, "vision_learner", without)
    shutil.copytree(pets, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
    )
    network.append(torch.nn.Linear(8 * 16, 2))
    run_block(block, str(page), {"__name__": "__main__", "network": network})
    assert list(Path().glob(written)), "the file that predicts"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_known_language_and_say_why_they_are_not_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert text.count("```") == 2 * len(found), "a fence that is indented, or never ends"
    assert {block.language for block in found} <= LANGUAGES
    for number, line in enumerate(text.splitlines(), start=1):
        if "not run" in line and line.startswith("<!--"):
            reason = NOT_RUN.fullmatch(line)
            assert reason is not None, f"line {number} gives no reason: {line}"
            assert len(reason[1]) > 5, f"line {number}: {reason[1]!r} is no reason"


def test_a_failing_block_is_found_with_page_and_line() -> None:
    page = "# Page\n\n```python\nx = 1\n```\n\nand\n\n```python\nassert x == 1\n1 / 0\n```\n"
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(page, "page.md")
    last = caught.traceback[-1]
    assert Path(last.path).name == "page.md"
    assert last.lineno + 1 == 11


def test_blocks_with_a_reason_and_other_languages_are_not_run() -> None:
    page = "\n<!-- not run: it fails -->\n```python\n1 / 0\n```\n\n```text\n1 / 0\n```\n"
    assert run_blocks(page, "page.md") == 0
    assert run_blocks("\n```python\n1\n```\n" + page, "page.md") == 1


def anchors(page: Path) -> set[str]:
    """Ids of the headings of a page, as mkdocs makes them."""
    return {slug(heading) for heading in HEADING.findall(without_code(page))}


def slug(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def without_code(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        link
        for link in LINK.findall(without_code(page))
        if not link.startswith(("https://", "http://")) and not leads_somewhere(page, link)
    ]
    assert broken == []


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    if not anchor:
        return True
    return anchor in anchors(target) or is_shown(anchor, target)


def is_shown(name: str, page: Path) -> bool:
    """Whether an API page shows the object of this dotted name."""
    for module in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
        rest = name.removeprefix(f"{module}.")
        if rest != name:
            found: Any = importlib.import_module(module)
            for part in rest.split("."):
                found = getattr(found, part, None)
            return found is not None
    return False


def test_a_broken_link_is_found() -> None:
    page = DOCS / "index.md"
    assert leads_somewhere(page, "install.md#extras")
    assert not leads_somewhere(page, "instal.md")
    assert not leads_somewhere(page, "install.md#extra")
    assert leads_somewhere(page, "api/data.md#cnnkit.data.ImageFolder.from_zip")
    assert not leads_somewhere(page, "api/data.md#cnnkit.data.ImageFolder.from_rar")
    assert not leads_somewhere(page, "api/data.md#cnnkit.models.MLP")


def public_modules() -> Iterator[ModuleType]:
    yield cnnkit
    for module in pkgutil.walk_packages(cnnkit.__path__, "cnnkit."):
        if "._" not in module.name:
            yield importlib.import_module(module.name)


def test_every_public_name_is_on_an_api_page() -> None:
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md")]
    shown = [importlib.import_module(m) for text in pages for m in DIRECTIVE.findall(text)]
    missing = [
        f"{module.__name__}.{name}"
        for module in public_modules()
        for name in module.__all__
        if getattr(module, name) not in shown and not any(has(page, module, name) for page in shown)
    ]
    assert missing == [], "give it a page with `::: module`"
    assert not any(" members:" in text for text in pages), "a page that shows a part of a module"


def has(shown: ModuleType, module: ModuleType, name: str) -> bool:
    return name in shown.__all__ and getattr(shown, name) is getattr(module, name)


def test_start_page_and_readme_show_the_same_code() -> None:
    # It trains for seconds: that of the start page is run, and this makes it the README's as well.
    shown = [
        [block for block in blocks(page.read_text(encoding="utf-8")) if block.language == "python"]
        for page in (README, DOCS / "index.md")
    ]
    assert [block.code for block in shown[0]] == [block.code for block in shown[1]] != []


def test_ci_calls_the_test_command_of_the_readme() -> None:
    readme = README.read_text(encoding="utf-8").splitlines()
    commands = [line for line in readme if "pip install -q -e" in line]
    assert [command.split("/")[-1] for command in commands] == ["quickstart.py", "pytest"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands[1] in map(str.strip, ci)
