"""Every check of the project, each in an environment of its own: `nox -l` lists them.

Words after `--` go to the tool behind a session: `nox -s tests -- tests/models -x`.

An environment with torch takes 5.5 GB and a minute to make, so environments are kept between runs
(`nox -R -s tests` does not even ask pip again), and what can do without torch does.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "venv"  # uv would download torch again instead of sharing it
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
EXTRAS: dict[str, list[str]] = nox.project.load_toml("pyproject.toml")["project"][
    "optional-dependencies"
]
# torchvision's own metadata says which torch it was built for; 0.29 asks for torch >= 2.14.
PAIRS = {
    "2.6.0": "0.21.0",
    "2.7.1": "0.22.1",
    "2.8.0": "0.23.0",
    "2.9.1": "0.24.1",
    "2.10.0": "0.25.0",
    "2.11.0": "0.26.0",
    "2.12.1": "0.27.1",
    "2.13.0": "0.28.0",
    "2.14.1": "0.29.1",
    "2.15.0": "0.29.2",
}


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests and doctests with the newest torch."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
@nox.parametrize("device", [nox.param(device, id=device) for device in ("cpu", "cuda")])
@nox.parametrize(
    "torch,torchvision", [nox.param(*pair, id=f"torch-{pair[0]}") for pair in PAIRS.items()]
)
def compat(session: nox.Session, torch: str, torchvision: str, device: str) -> None:
    """Run the tests with one pair of torch and torchvision on the CPU, or the GPU's on CUDA."""
    if device == "cuda" and not _has_gpu():
        session.skip("no CUDA device here: nvidia-smi lists none")
    session.install(f"torch=={torch}", f"torchvision=={torchvision}", "-e", ".[test]")
    if device == "cpu":
        # A machine with a GPU must behave as one without.
        session.run("pytest", "-m", "not gpu", *session.posargs, env={"CUDA_VISIBLE_DEVICES": ""})
        return
    sees_gpu = "import torch; assert torch.cuda.is_available(), 'this torch does not see the GPU'"
    session.run("python", "-c", sees_gpu)  # or every test would be skipped, and that called passed
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff (without torch); `-- --fix` mends what it can."""
    session.install(*_pinned("ruff"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of everything with mypy (strict) and pyright."""
    session.install("-e", ".[gdrive,test]", *_pinned("mypy", "nox", "pyright"))
    session.run("mypy", *session.posargs)
    session.run("pyright", *session.posargs, env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, a warning is an error (without torch)."""
    session.install(*EXTRAS["docs"])
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(default=False)
def peers(session: nox.Session) -> None:
    """Run the programs for other libraries that docs/coming-from.md shows."""
    libraries = ["fastai", "keras", "lightning", "skorch"]
    session.install("-e", ".[test]", *libraries, "grain")  # with which Keras reads images
    session.run("python", "-c", f"import {', '.join(libraries)}", env={"KERAS_BACKEND": "torch"})
    session.run("pytest", "tests/test_docs.py", "-k", "another_library", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel; install the wheel and use it from outside the checkout."""
    session.install(*_pinned("build"))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.run("python", "-m", "build", *session.posargs)
    (wheel,) = (ROOT / "dist").glob("*.whl")
    with tempfile.TemporaryDirectory() as outside, session.chdir(outside):
        session.run("python", "-m", "venv", "clean")
        python = f"{outside}/clean/bin/python"
        session.run(python, "-m", "pip", "install", "-q", str(wheel), external=True)
        session.run(python, "-c", _names_of_readme(), external=True)


def _has_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def _pinned(*packages: str) -> list[str]:
    """The requirements of these packages as the extras `dev` and `docs` state them."""
    stated = {re.split(r"[\[=<>~! ]", line)[0]: line for line in EXTRAS["dev"] + EXTRAS["docs"]}
    return [stated[package] for package in packages]


def _names_of_readme() -> str:
    """Code that looks up each name of cnnkit in the README's example and prints the version."""
    example = re.search(r"```python\n(.+?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert example is not None, "README.md has no python example"
    nodes = list(ast.walk(ast.parse(example[1])))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    ours = {alias.name for node in imports for alias in node.names}
    dotted = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    # What follows a call is an attribute of its result, which only a run could look up.
    used = [name for name in dotted if name.split(".")[0] in ours and "(" not in name]
    version = "import cnnkit; print('cnnkit', cnnkit.__version__, 'from', cnnkit.__file__)"
    return "\n".join([*map(ast.unparse, imports), *used, version])
