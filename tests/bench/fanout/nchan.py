"""nginx with nchan: a configuration of its own in a folder of its own, one worker, and a client that publishes."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from debian import installed, program

from fanout.events import text

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_WINDOW = 64
"""Requests under way when events are published as fast as nginx takes them."""

_TAKEN = b"HTTP/1.1 2"
_REFUSED = re.compile(rb"HTTP/1\.1 [^2]")

_CONFIGURATION = """
{user}
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 10000000;
    nchan_shared_memory_size 2048M;
    nchan_message_buffer_length 30000;  # as much as any row publishes: a slow reader loses nothing
    nchan_message_timeout 1h;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/publish/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; }}
        location ~ ^/events/(\\w+)$ {{
            nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }}
        location ~ ^/all/(\\w+)$ {{
            nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message oldest;
        }}
    }}
}}
"""


class Nginx:
    """A running nginx. `pid` is its worker's."""

    def __init__(self) -> None:
        nginx = program("nginx", "nginx")
        installed("libnginx-mod-nchan", MODULE)
        self._folder = tempfile.mkdtemp(prefix="nchan-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        configuration = Path(self._folder) / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                user="user root;" if os.geteuid() == 0 else "",
                module=MODULE,
                descriptors=descriptors,
                connections=min(descriptors, 65536) - 100,
                folder=self._folder,
                port=self.port,
            )
        )
        self._popen = subprocess.Popen(
            [nginx, "-p", self._folder, "-c", configuration, "-e", "error.log"],
            preexec_fn=_end_with_us,  # noqa: PLW1509 - no thread runs while a server starts
        )
        self.pid = self._worker()
        self._made = 0
        self._publishing: threading.Thread | None = None
        self._problem: BaseException | None = None

    def _worker(self) -> int:
        master = self._popen.pid
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert self._popen.poll() is None, (Path(self._folder) / "error.log").read_text()
            children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
                continue
            if len(children) == 1:
                return int(children[0])
        raise AssertionError("nginx does not come up")

    def end(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            subprocess.run(["kill", "-9", str(self.pid)], check=False)
            self._popen.kill()
            self._popen.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def pace(self, count: int, rate: int, batch: int, addresses: int) -> None:
        """Publish in a thread: to the channel `all`, or where there are addresses to a channel for each."""
        numbers = range(self._made + 1, self._made + count + 1)
        self._made += count
        self._publishing = threading.Thread(target=self._publish, args=(numbers, rate, batch, addresses), daemon=True)
        self._publishing.start()

    def paced(self, timeout: float) -> None:
        """Wait until nginx has taken all of it."""
        assert self._publishing is not None
        self._publishing.join(timeout)
        assert not self._publishing.is_alive(), "nginx does not take what is published"
        if self._problem is not None:
            raise self._problem

    def _publish(self, *given: Any) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _publish(connection, *given)
        except BaseException as problem:  # noqa: BLE001 - whoever waits is told
            self._problem = problem


def _end_with_us() -> None:
    """In the child: have the kernel end it when the bench is killed (PR_SET_PDEATHSIG); the others read our pipes."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _publish(connection: socket.socket, numbers: range, rate: int, batch: int, addresses: int) -> None:
    """
    On one keep-alive connection. At a pace, the events of a batch go one after another, each when the one before was
    answered, as an HTTP library does it; a single event waits for nothing, else a server that is late would slow the
    clock down. As fast as it goes, many requests are under way, which spares nginx work.
    """
    answers = _answers(connection)
    taken = sent = 0
    began = time.monotonic()
    for start in range(0, len(numbers), batch):
        due = began + start / rate if rate else time.monotonic()
        if (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        requests = [_request(number, due, addresses) for number in numbers[start : start + batch]]
        one_by_one = rate and batch > 1
        window = 1 if one_by_one else sys.maxsize if rate else _WINDOW
        for data in requests if one_by_one else [b"".join(requests)]:
            connection.sendall(data)
            sent += 1 if one_by_one else len(requests)
            while sent - taken >= window:
                taken += next(answers)
    while taken < sent:
        taken += next(answers)


def _request(number: int, due: float, addresses: int) -> bytes:
    body = text(number, due, addresses)
    channel = number % addresses if addresses else "all"
    return f"POST /publish/{channel} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _answers(connection: socket.socket) -> Iterator[int]:
    """How many requests were answered, each time that something comes."""
    rest = b""
    while True:
        data = connection.recv(65536)
        assert data, "nginx closed the publisher's connection"
        data = rest + data
        refused = _REFUSED.search(data)
        assert refused is None, data[refused.start() :][:200]
        yield data.count(_TAKEN)
        rest = data[1 - len(_TAKEN) :]
