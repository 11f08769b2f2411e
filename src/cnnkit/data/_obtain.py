"""`obtain`: a path, URL or share link becomes a folder of extracted files, once.

What is extracted carries a marker that says which archive it came from. Archive, marker and files
arrive together by one rename, so a folder with a marker is whole, whatever was killed when.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import sys
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from cnnkit._files import atomic_path
from cnnkit.data._disk import checked_sha256, new_parents, remove_tree, sha256_of
from cnnkit.data._extract import check_vacant, extract
from cnnkit.data._fetch import fetch, is_url
from cnnkit.data._gdrive import google_drive_id
from cnnkit.data._limits import DEFAULT_LIMITS, LimitError, Limits
from cnnkit.data._lock import locked
from cnnkit.data._top_folder import find_top_folder
from cnnkit.errors import ArchiveError, ArgumentError, ChecksumError, DataError, NotFoundError
from cnnkit.types import PathLike

__all__ = [
    "Marker",
    "cache_folder",
    "find_top_folder",
    "obtain",
    "read_marker",
    "write_marker",
]
