"""Imports point downwards only: each module is on a rung, and imports from lower rungs alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
#: From the bottom to the top. Names on one rung do not import each other; a package is one name.
RUNGS = [
    {"errors", "types"},
    {"distributed"},
    {
        "_allocator",
        "_device_info",
        "_files",
        "_logits",
        "_pictures",
        "_pixels",
        "_progress",
        "_sizes",
    },
    {"_images", "_saved"},
    {"preprocess"},
    {"device"},
    {"data", "models", "metrics", "filters"},
    {"train"},
    {"plot", "classifier"},
    {"cnnkit"},
]
RUNG_OF = {name: number for number, names in enumerate(RUNGS) for name in names}


def dotted(path: Path, src: Path = SRC) -> str:
    """The name by which a file is imported."""
    parts = path.relative_to(src).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def piece(module: str) -> str:
    """The name on the rungs that a module of cnnkit belongs to."""
    return module.split(".")[1] if "." in module else module


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, package: str, *, functions: bool = True) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import that runs, in functions too unless told otherwise."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node):
            assert isinstance(node, ast.If)
            rest = ast.Module(node.orelse, [])
            yield from imports(rest, package, functions=functions)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*above, *([node.module] if node.module else [])])
            source = base if node.level else node.module or ""
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        elif functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imports(node, package, functions=functions)


def own_modules(src: Path = SRC) -> dict[str, Path]:
    return {dotted(path, src): path for path in sorted(src.glob("cnnkit/**/*.py"))}


def own_imports(src: Path, *, functions: bool = True) -> Iterator[tuple[str, int, str]]:
    """(module, line, imported module) of all imports of cnnkit inside cnnkit."""
    modules = own_modules(src)
    for module, path in modules.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in imports(tree, package, functions=functions):
            if name.split(".")[0] == "cnnkit":
                # `from cnnkit.data import augment` names a module, `import ImageFolder` does not.
                yield module, line, name if name in modules else name.rpartition(".")[0]


def violations(src: Path) -> list[str]:
    """Each import that does not point downwards, in words."""
    found = []
    for module, line, imported in own_imports(src):
        importer, target = piece(module), piece(imported)
        if importer != target and RUNG_OF.get(importer, 0) <= RUNG_OF.get(target, len(RUNGS)):
            found.append(f"{module}:{line} imports {imported}, which is not below {importer}")
    return found


def test_every_module_is_on_a_rung() -> None:
    missing = {piece(module) for module in own_modules()} - set(RUNG_OF)
    assert not missing, f"put {missing} on a rung of {Path(__file__).name}"


def test_imports_point_downwards() -> None:
    assert list(own_imports(SRC)), "no import of cnnkit found inside cnnkit: the test is blind"
    assert violations(SRC) == []


def test_nothing_but_the_loop_and_its_loader_asks_which_process_it_is() -> None:
    asking = set()
    for module, path in own_modules().items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for _, name in imports(ast.parse(path.read_text(encoding="utf-8")), package):
            # Whoever works alone need not know of the others.
            if ".distributed" in name and name != "cnnkit.distributed.alone":
                asking.add(module)
    asking -= {"cnnkit.distributed", "cnnkit.device", "cnnkit._progress"}  # shares, and one bar
    assert asking, "no module asks: the test is blind"
    assert {module.rpartition(".")[0] for module in asking} == {"cnnkit.train"}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in own_modules()}
    for module, _, imported in own_imports(SRC, functions=False):
        if not module.startswith(imported):  # a module's package is imported before it
            graph[module].add(imported)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("path", "code", "what"),
    [
        ("device.py", "from cnnkit.data import ImageFolder", "cnnkit.data"),
        ("device.py", "from cnnkit import train", "cnnkit.train"),
        ("device.py", "from cnnkit import Classifier", "cnnkit"),
        ("models/_a.py", "import cnnkit.metrics", "cnnkit.metrics"),
        (
            "models/_a.py",
            "def f():\n    from cnnkit.data._folder import scan",
            "cnnkit.data._folder",
        ),
        ("models/_a.py", "if True:\n    from ..train import fit", "cnnkit.train"),
        ("plot/_a.py", "class A:\n    from cnnkit import classifier", "cnnkit.classifier"),
        ("errors.py", "try:\n    from cnnkit.types import Mode\nexcept ImportError: ...", "types"),
    ],
)
def test_an_import_upwards_or_sideways_is_found(
    tmp_path: Path, path: str, code: str, what: str
) -> None:
    for name in {*RUNG_OF, "data/_folder"} - {"cnnkit"}:
        folder = name in {"data", "models", "metrics", "train", "plot"}
        file = tmp_path / "cnnkit" / (f"{name}/__init__.py" if folder else f"{name}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert violations(tmp_path) == []
    (tmp_path / "cnnkit" / path).write_text(code)
    (found,) = violations(tmp_path)
    assert what in found


def test_an_import_downwards_or_for_types_alone_is_fine(tmp_path: Path) -> None:
    (tmp_path / "cnnkit").mkdir()
    (tmp_path / "cnnkit" / "device.py").write_text(
        "from cnnkit.errors import DataError\nimport torch\n"
        "if TYPE_CHECKING:\n    from cnnkit.train import fit\n"
    )
    assert violations(tmp_path) == []
