"""A process that is forked off and goes on alone."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from damselfly.net.detached import can_fork

SCRIPT = """
import json, os, sys
from damselfly.net.detached import fork_detached

def work():
    print(json.dumps({
        "pid": os.getpid(), "session": os.getsid(0), "group": os.getpgid(0),
        "stdin": sys.stdin.read(), "files": sorted(os.listdir("/proc/self/fd")),
        "title": open("/proc/self/cmdline").read().rstrip(chr(0)),
    }), flush=True)
    print("a word", file=sys.stderr)
    return 3

stdout, stderr = int(sys.argv[1]), int(sys.argv[2])
print("before")
leader = fork_detached(work, "a title --meta x", stdout, stderr)
print(json.dumps({"leader": leader, "status": os.waitpid(leader, 0)[1], "session": os.getsid(0)}))
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to look at")
def test_a_detached_process_has_nothing_of_the_one_it_came_from() -> None:
    (out, out_write), (errors, errors_write) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", SCRIPT, str(out_write), str(errors_write)]
    try:
        done = subprocess.run(
            command, pass_fds=(out_write, errors_write), capture_output=True, text=True, check=True
        )
    finally:
        os.close(out_write)
        os.close(errors_write)
    before, line = done.stdout.splitlines()
    assert before == "before", "what was printed before the fork is printed once"
    forker = json.loads(line)
    found = json.loads(text_of(out))
    assert text_of(errors) == "a word\n"
    assert forker["status"] == 0
    assert found["session"] == found["group"] == forker["leader"]
    assert found["session"] != forker["session"]
    assert found["stdin"] == ""
    assert found["files"][:3] == ["0", "1", "2"]
    assert len(found["files"]) == 4, "and the directory that is being read"
    assert found["title"] == "a title --meta x"


def test_beside_other_threads_nothing_is_forked() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        assert not can_fork()
    finally:
        release.set()
        thread.join()


def text_of(fd: int) -> str:
    """Return what comes until the last writer has gone."""
    text = b""
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], 20.0)[0] and (more := pipe.read(4096)):
            text += more
    return text.decode()
