"""Google Drive: the share links that people paste, and the one package that knows the way in."""

from __future__ import annotations

import re
import sys
import urllib.parse
from pathlib import Path

from cnnkit.data._disk import remove_tree
from cnnkit.errors import ArgumentError, DownloadError, MissingExtraError

__all__ = ["download_from_drive", "google_drive_id"]

_HOSTS = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")


def google_drive_id(url: str) -> str | None:
    """Return the id of the file that a Google Drive link shares.

    Args:
        url: Any address.

    Returns:
        The id, or None when `url` is no link to Google Drive.

    Raises:
        ArgumentError: A link to Google Drive, but not to a file.

    Example:
        >>> google_drive_id("https://drive.google.com/file/d/1aB-c_D/view?usp=sharing")
        '1aB-c_D'
        >>> google_drive_id("https://drive.google.com/uc?export=download&id=1aB-c_D")
        '1aB-c_D'
        >>> google_drive_id("https://example.org/pets.zip")
    """
    parts = urllib.parse.urlsplit(url)
    if parts.hostname not in _HOSTS:
        return None
    in_path = re.search(r"/file/(?:u/\d+/)?d/([\w-]+)", parts.path)
    in_query = urllib.parse.parse_qs(parts.query).get("id")
    if in_path is not None:
        return in_path[1]
    if in_query is not None and "folder" not in parts.path:
        return in_query[0]
    raise ArgumentError(
        f"{url} is a link to Google Drive, but not to a file; expected a share link of the archive "
        "itself, such as https://drive.google.com/file/d/ID/view (a folder must be zipped first)"
    )


def download_from_drive(
    file_id: str, part: Path, *, user_agent: str | None, progress: bool
) -> None:
    """Bring a shared file to `part`; gdown shows its bar where there is a terminal.

    Raises:
        MissingExtraError: gdown is not installed.
        DownloadError: gdown could not have the file.
    """
    try:
        import gdown
    except ImportError as error:
        raise MissingExtraError("gdown", "gdrive", "Downloading from Google Drive") from error
    # gdown writes to names of its own, which a killed run leaves: they get a folder of their own.
    room = part.with_name(part.name + ".gdown")
    remove_tree(room)
    room.mkdir()
    try:
        quiet = not (progress and sys.stderr.isatty())
        gdown.download(id=file_id, output=str(room / "file"), quiet=quiet, user_agent=user_agent)
        (room / "file").replace(part)
    except Exception as error:  # gdown's own errors differ from version to version
        raise DownloadError(
            f"Google Drive file {file_id} could not be fetched: {error}. It must be shared with "
            "'anyone with the link'; a popular file may also be over its quota for today"
        ) from error
    finally:
        remove_tree(room)
