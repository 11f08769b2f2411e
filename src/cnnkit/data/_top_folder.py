"""Where the class folders begin below an extracted archive."""

from __future__ import annotations

from pathlib import Path, PurePath

from cnnkit._images import IMAGE_EXTENSIONS
from cnnkit.data._safe_names import is_litter
from cnnkit.errors import ArgumentError, DataError

__all__ = ["find_top_folder"]

# Folders of these names hold parts of a data set, each with all the classes.
_SPLITS = {
    f"{name}{suffix}"
    for name in ("train", "training", "test", "testing", "val", "valid", "validation", "dev")
    for suffix in ("", "_set", "-set", "set")
}
_SHOWN = 20


def find_top_folder(root: Path, folder: str | None = None) -> Path:
    """Return the folder that holds the class folders.

    ::

        root/cats/1.jpg                  root
        root/pets/cats/1.jpg             root/pets, if there is dogs or another beside cats
        root/pets/images/cats/1.jpg      root/pets/images
        root/cifar10/train/cat/1.jpg     must be named: folder="train" or folder="cifar10/train"
        root/cifar10/test/cat/1.jpg

    Args:
        root: The folder that an archive was extracted to.
        folder: A folder in it, named from `root` or from its single top folder. Without it, a
            single folder that holds folders is gone into, as long as there is no image beside it.

    Returns:
        `root` or a folder below it.

    Raises:
        DataError: There is no such folder, or it must be named; the error lists what is there.
        ArgumentError: `folder` does not lie in `root`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "pets", "cats").mkdir(parents=True)
        ...     Path(root, "pets", "dogs").mkdir()
        ...     find_top_folder(Path(root)).name
        'pets'
    """
    way = [root]  # from the root to the top folder
    while (lower := _lone_folder(way[-1])) is not None and _folders(lower):
        way.append(lower)
    if folder is not None:
        named = PurePath(folder)
        if named.is_absolute() or named.drive or ".." in named.parts:
            raise ArgumentError(f"folder must name a folder inside {root}, got {folder!r}")
        for upper in way:
            if (upper / named).is_dir():
                return upper / named
        raise DataError(f"there is no folder {folder!r} in {root}; it holds {_listing(root)}")
    top = way[-1]
    below = _folders(top)
    if (
        below
        and all(path.name.lower() in _SPLITS for path in below)
        and any(_folders(path) for path in below)
    ):
        names = " and ".join(repr(path.name) for path in below)
        likely = next((path for path in below if path.name.lower().startswith("train")), below[0])
        raise DataError(
            f"{top} holds {names}, which are no classes but parts of a data set; say which with "
            f"folder={likely.name!r}"
        )
    return top


def _lone_folder(folder: Path) -> Path | None:
    folders = _folders(folder)
    images = any(path.suffix.lower() in IMAGE_EXTENSIONS for path in folder.iterdir())
    return folders[0] if len(folders) == 1 and not images else None


def _folders(folder: Path) -> list[Path]:
    """Sub-folders in the order of their names, without hidden ones and litter."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not is_litter(path.name)
    )


def _listing(root: Path) -> str:
    upper = _folders(root)
    both = [path for folder in upper for path in (folder, *_folders(folder))]
    # When both levels are too many, the upper one says more.
    names = [path.relative_to(root).as_posix() for path in (both if len(both) <= _SHOWN else upper)]
    if not names:
        return "no folders"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
