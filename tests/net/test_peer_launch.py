"""Real peer server processes: found, started once, detached, ended, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio

from damselfly.engine.ids import NodeAddress, PeerId, TaskId
from damselfly.engine.wire.frame import wrap
from damselfly.net import peer_launch
from damselfly.net.http import HttpError, HttpPool
from damselfly.net.peer_launch import (
    NoPeerServer,
    PeerServerHandle,
    PeerServerRefused,
    ensure_peer_server,
)
from damselfly.net.peer_meta import FileLock, HostMeta, WorkHome
from damselfly.net.peer_spawn import PeerLaunch, ServerStart, start_early
from damselfly.net.request import FetchRequest, Pattern

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

IP = "127.0.0.1"
VERSION = "0.1.0"

# Takes the flags of protocol 3.1 and writes down its process id first.
SERVER = f"""
import os, sys
from pathlib import Path
from damselfly.engine.uploads import UploadPolicy
from damselfly.net.peer_server import PeerServerConfig, run_peer_server

flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
with open(flags["--home"] + "/pids", "a") as pids:
    print(os.getpid(), file=pids)
policy = UploadPolicy(
    flags["--data"],
    "{VERSION}",
    expire_s=float(flags["--expiretime"].rstrip("s")),
    alive_s=float(flags["--alivetime"].rstrip("s")),
    survey_s=0.1,
)
config = PeerServerConfig(flags["--ip"], Path(flags["--meta"]), policy, int(flags["--port"]))
sys.exit(run_peer_server(config))
"""


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PeerLaunch]:
    monkeypatch.setenv("DAMSELFLY_CHECK", "1")
    yield PeerLaunch(IP, WorkHome(tmp_path), VERSION, command=script(SERVER))
    for pid in pids(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def pool() -> AsyncGenerator[HttpPool]:
    async with HttpPool() as made:
        yield made


def pids(home: Path) -> list[int]:
    path = home / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def ended(pid: int) -> None:
    """Return when the process, which is no child of ours, is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(20):
            await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def is_child(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


async def started(launch: PeerLaunch, name: str, pool: HttpPool) -> PeerServerHandle:
    found = await ensure_peer_server(launch, name, pool)
    assert isinstance(found, PeerServerHandle), found
    return found


async def refused(launch: PeerLaunch, pool: HttpPool) -> str:
    found = await ensure_peer_server(launch, "T1", pool)
    assert isinstance(found, NoPeerServer)
    return found.reason


async def get_piece(pool: HttpPool, handle: PeerServerHandle) -> tuple[int, bytes]:
    headers = (("Range", "bytes=0-1023"), ("pieceNum", "0"), ("pieceSize", "1024"))
    status, _, body = await pool.call(
        handle.ip, handle.port, "GET", handle.path, headers, timeout_s=10.0
    )
    return status, body


async def test_a_server_is_started_once_and_serves(launch: PeerLaunch, pool: HttpPool) -> None:
    first = await started(launch, "one 1-2.000", pool)
    second = await started(launch, "T2", pool)
    assert first.port == second.port == HostMeta(launch.home.meta_path).read_port()
    assert first.path == "/peer/file/one%201-2.000"
    assert len(pids(launch.home.path)) == 1
    (launch.home.data_dir / "one 1-2.000.service").write_bytes(b"x" * 50)
    assert await get_piece(pool, first) == (206, wrap(b"x" * 50, 1024))


async def test_the_server_is_nobodys_child_and_in_a_session_of_its_own(
    launch: PeerLaunch, pool: HttpPool
) -> None:
    await started(launch, "T1", pool)
    (pid,) = pids(launch.home.path)
    assert os.getsid(pid) != os.getsid(0)
    assert not is_child(pid)
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    assert os.readlink(f"/proc/{pid}/fd/1") == os.devnull
    assert os.readlink(f"/proc/{pid}/fd/2") == str(launch.home.server_log)


async def test_the_server_outlives_the_process_that_started_it(
    launch: PeerLaunch, pool: HttpPool
) -> None:
    text = f"""
import sys, trio
from pathlib import Path
from damselfly.net.http import HttpPool
from damselfly.net.peer_launch import ensure_peer_server
from damselfly.net.peer_meta import WorkHome
from damselfly.net.peer_spawn import PeerLaunch

async def main():
    launch = PeerLaunch("{IP}", WorkHome(Path({str(launch.home.path)!r})), "{VERSION}",
                        command={launch.command!r})
    async with HttpPool() as pool:
        print((await ensure_peer_server(launch, "T1", pool)).port, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    parent = await trio.lowlevel.open_process(
        script(text), stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    async with parent.stdout:
        port = int(await parent.stdout.receive_some(100))
        os.killpg(parent.pid, signal.SIGTERM)
        assert await parent.wait() == -signal.SIGTERM
    assert (await started(launch, "T1", pool)).port == port
    assert len(pids(launch.home.path)) == 1


async def test_many_that_start_at_once_start_one(launch: PeerLaunch, pool: HttpPool) -> None:
    handles: list[PeerServerHandle] = []

    async def one(name: str) -> None:
        handles.append(await started(launch, name, pool))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(one, f"T{number}")
    assert len({handle.port for handle in handles}) == 1
    assert len(pids(launch.home.path)) == 1


async def test_a_second_server_process_names_the_first_and_ends(
    launch: PeerLaunch, pool: HttpPool
) -> None:
    handle = await started(launch, "T1", pool)
    second = await trio.run_process((*launch.command, *launch.flags()), capture_stdout=True)
    assert second.returncode == 0
    assert second.stdout == f"dfget uploader server port is {handle.port}\n".encode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_it_and_leaves_no_file_behind(
    launch: PeerLaunch, pool: HttpPool, number: signal.Signals
) -> None:
    handle = await started(launch, "T1", pool)
    await started(launch, "cut off", pool)
    for name in ("T1", "cut off"):
        (launch.home.data_dir / f"{name}.service").write_bytes(b"content")
    await handle.finish(TaskId("t"), PeerId("c"), NodeAddress(IP, 9))
    (pid,) = pids(launch.home.path)
    os.kill(pid, number)
    await ended(pid)
    assert json.loads(launch.home.meta_path.read_bytes()) == {"servicePort": 0}
    assert os.listdir(launch.home.data_dir) == ["cut off.service"]
    assert (await started(launch, "T1", pool)).port


async def test_times_are_passed_on(launch: PeerLaunch, pool: HttpPool) -> None:
    short = replace(launch, expire_s=0.05, alive_s=1.5)
    handle = await started(short, "T1", pool)
    (short.home.data_dir / "T1.service").write_bytes(b"content")
    await handle.finish(TaskId("t"), PeerId("c"), None)
    (pid,) = pids(short.home.path)
    await ended(pid)
    assert os.listdir(short.home.data_dir) == []
    assert HostMeta(short.home.meta_path).read_port() == 0


async def test_a_rate_is_shared(launch: PeerLaunch, pool: HttpPool) -> None:
    limited = replace(launch, total_limit_bytes_per_s=3000)
    one, two = [await started(limited, name, pool) for name in ("T1", "T2")]
    assert await one.share_rate(2000, 0) == 2000
    with pytest.raises(PeerServerRefused, match="rateLimit"):
        await two.share_rate(-1, 0)
    told: dict[str, int] = {}
    gives_way = trio.Event()

    async def follow(name: str, handle: PeerServerHandle, taken: int) -> None:
        while taken != 1500:
            told[name] = taken = await handle.share_rate(2000, taken)
        gives_way.set()
        await handle.share_rate(2000, taken)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, "one", one, 2000)
        assert await two.share_rate(2000, 0) == 1000, "what there is"
        await gives_way.wait()
        assert await two.share_rate(2000, 1000) == 1500
        nursery.cancel_scope.cancel()
    assert told == {"one": 1500}
    assert await two.share_rate(2000, 1500) == 2000, "the other one hung up"


async def test_a_server_that_died_is_replaced(launch: PeerLaunch, pool: HttpPool) -> None:
    handle = await started(launch, "T1", pool)
    (pid,) = pids(launch.home.path)
    os.kill(pid, signal.SIGKILL)
    await ended(pid)
    with pytest.raises(HttpError):
        await handle.share_rate(1, 0)
    assert (await started(launch, "T1", pool)).port
    assert len(pids(launch.home.path)) == 2


@pytest.mark.parametrize("meta", ["", "{", "[1]", "null", '{"servicePort":"x"}', "[" * 4000])
async def test_a_meta_file_without_sense_is_as_good_as_none(
    launch: PeerLaunch, pool: HttpPool, meta: str
) -> None:
    launch.home.meta_path.parent.mkdir()
    launch.home.meta_path.write_text(meta)
    assert (await started(launch, "T1", pool)).port


async def test_a_server_of_another_version_is_left_alone(
    launch: PeerLaunch, pool: HttpPool
) -> None:
    await started(launch, "T1", pool)
    assert "has version 0.1.0, this is 9.9" in await refused(replace(launch, version="9.9"), pool)
    assert len(pids(launch.home.path)) == 1


async def test_a_port_in_use_is_a_reason(launch: PeerLaunch, pool: HttpPool) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=IP)
    async with listener:
        port = listener.socket.getsockname()[1]
        reason = await refused(replace(launch, port=port), pool)
    assert f"cannot listen on {IP}:{port}" in reason
    assert str(launch.home.server_log) in reason
    (pid,) = pids(launch.home.path)
    await ended(pid)


async def test_without_an_address_there_is_no_server(launch: PeerLaunch, pool: HttpPool) -> None:
    assert "address" in await refused(replace(launch, ip=""), pool)


async def test_a_home_that_cannot_be_written_is_a_reason(
    launch: PeerLaunch, pool: HttpPool, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    home = WorkHome(tmp_path / "file")
    assert "cannot be started" in await refused(replace(launch, home=home), pool)


@pytest.mark.parametrize("says", ["", "print('no port', flush=True);"])
async def test_a_server_that_does_not_come_up_is_ended(
    launch: PeerLaunch, pool: HttpPool, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr(peer_launch, "_START_TIMEOUT_S", 2.0)
    pid_file = str(launch.home.path / "pids")
    text = (
        f"import os, time; open({pid_file!r}, 'w').write(str(os.getpid())); {says} time.sleep(1000)"
    )
    assert "did not name its port" in await refused(replace(launch, command=script(text)), pool)
    for pid in pids(launch.home.path):
        await ended(pid)


async def test_cancelled_while_it_starts_a_server_it_leaves_none(
    launch: PeerLaunch, pool: HttpPool
) -> None:
    pid_file = str(launch.home.path / "pids")
    os.mkfifo(pid_file)
    text = f"import os, time; open({pid_file!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refused, replace(launch, command=script(text)), pool)
        pid = int(await trio.to_thread.run_sync((launch.home.path / "pids").read_text))
        nursery.cancel_scope.cancel()
    os.unlink(pid_file)
    await ended(pid)
    assert HostMeta(launch.home.meta_path).read_port() == 0


# --- started beforehand ---


async def test_an_early_start_is_used(launch: PeerLaunch, pool: HttpPool) -> None:
    early = ServerStart.early(launch)
    assert early is not None
    assert ServerStart.early(launch) is None  # this one is being started
    found = await ensure_peer_server(launch, "T1", pool, early)
    assert isinstance(found, PeerServerHandle)
    assert ServerStart.early(launch) is None  # there is one
    assert (await started(launch, "T2", pool)).port == found.port
    assert len(pids(launch.home.path)) == 1


async def test_an_early_start_that_nobody_uses_leaves_nothing(launch: PeerLaunch) -> None:
    early = ServerStart.early(launch)
    assert early is not None
    with early:
        await trio.lowlevel.wait_readable(early.stdout_fd)
        (pid,) = pids(launch.home.path)
    with early:
        pass
    await ended(pid)
    lock = launch.start_lock
    assert lock.try_acquire()
    lock.release()


async def test_only_a_download_that_will_serve_starts_early(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        node = NodeAddress("127.0.0.1", listener.getsockname()[1])
        wanted = FetchRequest("http://h/f", tmp_path / "f", tmp_path / "home", "1-1", (node,))
        early = start_early(wanted)
        assert early is not None
        with early:
            assert early.launch.ip == "127.0.0.1"
        for nothing in (replace(wanted, pattern=Pattern.CDN), replace(wanted, nodes=())):
            assert start_early(nothing) is None
    assert start_early(wanted) is None, "nobody says which address is this host's"


def test_an_early_start_that_fails_is_none(launch: PeerLaunch, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no directory")
    assert ServerStart.early(launch) is None
    assert ServerStart.early(replace(launch, ip="")) is None
    assert ServerStart.early(replace(launch, home=WorkHome(tmp_path / "logs"))) is None
    lock = launch.start_lock
    assert lock.try_acquire()
    lock.release()


def test_starting_a_server_needs_no_trio() -> None:
    code = "import sys, damselfly.net.peer_spawn; sys.exit('trio' in sys.modules)"
    assert subprocess.run(script(code), check=False).returncode == 0


# --- meta file and locks ---


def test_only_its_own_port_is_cleared(tmp_path: Path) -> None:
    meta = HostMeta(tmp_path / "meta" / "host.meta")
    assert meta.read_port() == 0
    meta.write_port(20001)
    assert (tmp_path / "meta" / "host.meta").read_bytes() == b'{"servicePort":20001}'
    assert (tmp_path / "meta" / "host.meta").stat().st_mode & 0o777 == 0o755
    meta.clear_port(20002)
    assert meta.read_port() == 20001
    meta.clear_port(20001)
    assert (tmp_path / "meta" / "host.meta").read_bytes() == b'{"servicePort":0}'


async def test_a_lock_waits_for_the_other_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    mine, other = FileLock(path), FileLock(path)
    assert mine.try_acquire()
    assert not other.try_acquire()
    with pytest.raises(trio.TooSlowError):
        async with other.held(0.01):
            raise AssertionError("two hold the lock")
    async with trio.open_nursery() as nursery:
        got = trio.Event()

        async def take() -> None:
            async with other.held(20):
                got.set()

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert not got.is_set()
        mine.release()
        mine.release()
    assert got.is_set()
    assert mine.try_acquire()
    mine.release()
