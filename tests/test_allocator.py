"""The checks of the allocator, in a process whose heap no other test has used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_memory_is_kept_and_given_back() -> None:
    checks = Path(__file__).with_name("allocator_checks.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout or "10 skipped" in done.stdout, done.stdout
