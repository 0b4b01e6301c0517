"""A terminal with somebody in front of it: a program, keys that are typed, a size that changes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from typing import Self


class Terminal:
    """`with Terminal(["chainwatch", "tail"]) as screen`: what it prints is read by `until`. It is killed at the end."""

    def __init__(
        self, command: Sequence[str], *, rows: int = 24, columns: int = 80, nohup: bool = False, **environ: str
    ) -> None:
        self._command = command
        self._hangup = signal.SIG_IGN if nohup else signal.SIG_DFL
        self._environ = {**os.environ, "TERM": "xterm-256color", **environ}
        self._ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.seen = ""
        """All that was printed and not yet waited for."""
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self._environ,
            start_new_session=True,
            preexec_fn=self._lead,  # noqa: PLW1509  # tests have no threads of their own
        )
        os.close(theirs)

    def _lead(self) -> None:
        """
        The terminal is that of this session: ^C and its end reach it, though whoever runs the tests ignores both, or
        holds them back.
        """
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, self._hangup)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def resize(self, rows: int, columns: int) -> None:
        """The window is drawn larger or smaller; SIGWINCH says so."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, text: str, seconds: float = 20) -> str:
        """Read until `text` has been printed; all up to there."""
        ends = time.monotonic() + seconds
        while text not in self.seen:
            if not self._read(ends - time.monotonic()):
                raise AssertionError(f"no {text!r} on the terminal: {self.seen!r}")
        read, _, self.seen = self.seen.partition(text)
        return read + text

    def rest(self, seconds: float = 20) -> str:
        """All that is printed until the program ends."""
        ends = time.monotonic() + seconds
        while self._read(ends - time.monotonic()):
            pass
        self.seen, seen = "", self.seen
        return seen

    @property
    def pid(self) -> int:
        return self._process.pid

    def hang_up(self) -> None:
        """The window is closed."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def code(self, seconds: float = 20) -> int:
        """The exit code."""
        return self._process.wait(seconds)

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # Linux says EIO once nobody has the other end open
            return False
        self.seen += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.hang_up()
