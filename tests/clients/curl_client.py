"""curl, and the loop of a shell around it."""

from __future__ import annotations

import subprocess
import sys
import time

from telling import tell

from chainwatch import sse

cursor, wait = "", 1.0
while True:
    command = ["curl", "-sSN", "--fail", "--compressed", "-H", f"Last-Event-ID: {cursor}", sys.argv[1]]
    parser = sse.Parser(cursor)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as curl:
        while data := curl.stdout.read1():
            for event in parser.feed(data):
                tell(event.event, data=event.data, cursor=event.id)
    cursor, wait = parser.last_event_id, wait if parser.retry is None else parser.retry / 1000
    if curl.returncode:
        tell("error", closed=False)
    time.sleep(wait)
