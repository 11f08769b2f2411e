"""The lock: one at a time, between threads and processes, and free again when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cnnkit.data._lock import lock_path, locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals and flock")


def test_threads_enter_one_at_a_time_and_the_file_is_gone(tmp_path: Path) -> None:
    target, inside, most = tmp_path / "x", 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with locked(target):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_nobody_holds_is_no_lock(tmp_path: Path) -> None:
    lock_path(tmp_path / "x").write_text("left by a killed run")
    with locked(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_while_it_was_waited_for_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before removes its file: a lock on that one would keep out nobody."""
    flock, times = fcntl.flock, 0

    def late(descriptor: int, operation: int) -> None:
        nonlocal times
        times += 1
        if times == 1:
            lock_path(tmp_path / "x").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path / "x"):
        assert lock_path(tmp_path / "x").exists()


def test_a_killed_process_lets_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # flock from elsewhere, as proof that it is the system's own lock.
    code = """if True:
        import fcntl, sys, time
        file = open(sys.argv[1], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        print("held", flush=True)
        time.sleep(60)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", code, lock_path(tmp_path / "x")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    threading.Timer(0.2, holder.send_signal, [signal.SIGKILL]).start()
    begun = time.monotonic()
    with caplog.at_level(logging.INFO, "cnnkit"), locked(tmp_path / "x"):
        assert 0.1 < time.monotonic() - begun < 10
    holder.wait()
    holder.stdout.close()
    waiting = f"waiting for another process, which holds {lock_path(tmp_path / 'x')}"
    assert [record.message for record in caplog.records] == [waiting]


def test_a_disk_without_locks_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locked(tmp_path / "x"):
        pass
    assert "no locks here ([Errno 37] No locks available)" in caplog.text
    assert list(tmp_path.iterdir()) == []
