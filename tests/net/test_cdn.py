"""The supernode's copies over real sockets and disks: doubts, changes, trust, dead origins."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from damselfly.engine.config import CdnPattern
from damselfly.engine.outcomes import FailCode, Milestone
from damselfly.engine.piece import PieceLayout
from damselfly.engine.wire.frame import wrap
from damselfly.net.disk import copy_path, mark_used, when_used
from damselfly.net.http import HttpPool
from damselfly.net.sidecar import sidecar_path

from ..origin_server import CERTIFICATE, OriginServer
from .small_disk import small_disk
from .swarm_support import Notes, get, request, running_supernode, stats_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from damselfly.net.request import Outcome
    from damselfly.net.supernode import SupernodeAddress

PIECE = (1 << 20) - 5
DATA = random.Random(8).randbytes(5_000_000)
FRESH = DATA[::-1]
CA = base64.b64encode(CERTIFICATE.read_bytes()).decode()


def wrapped(data: bytes) -> bytes:
    starts = range(0, len(data), PIECE)
    return b"".join(wrap(data[start : start + PIECE], 1 << 20) for start in starts)


def path_of(home: Path, outcome: Outcome) -> Path:
    return copy_path(home / "repo" / "download", outcome.task)  # pyright: ignore[reportArgumentType]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in other processes' or threads' own time."""
    with trio.fail_after(60):
        while True:
            if is_so():
                return
            await trio.sleep(0.02)


async def until_idle(node: SupernodeAddress) -> None:
    """Wait until no task is in memory."""
    with trio.fail_after(60):
        while True:
            if not (await stats_of(node))["tasks"]:
                return
            await trio.sleep(0.02)


forgetful = partial(
    running_supernode, task_expire_s=0.05, gc_meta_interval_s=0.05, gc_initial_delay_s=0.01
)
"""Runs a supernode that forgets at once what nobody wants."""


# --- is it still the same? ------------------------------------------------------------------------


async def test_what_was_forgotten_is_given_again_on_the_origins_word(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with forgetful(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "a", node))
            await until_idle(node)
            await get(request(tmp_path, origin.url("/f"), "b", node))
        assert origin.bytes_sent("/f") == len(DATA)
        first, second = origin.requests("/f")
        assert "if-none-match" not in first.headers
        assert second.headers["if-none-match"].startswith('"')
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_a_date_will_do_where_there_is_no_tag(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, etag="")
        for name in ("a", "b"):
            async with running_supernode(tmp_path / "sn") as node:
                await get(request(tmp_path, origin.url("/f"), name, node))
        assert origin.bytes_sent("/f") == len(DATA)
        assert "if-modified-since" in origin.requests("/f")[1].headers


async def test_a_length_learnt_at_the_end_is_remembered(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, chunked=True, ranges=False)
        for name in ("a", "b"):
            async with running_supernode(tmp_path / "sn") as node:
                await get(request(tmp_path, origin.url("/f"), name, node))
        assert origin.bytes_sent("/f") == len(DATA)
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_without_tag_and_date_a_copy_does_not_outlive_the_process(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, etag="", last_modified="")
        for name in ("a", "b"):
            async with running_supernode(tmp_path / "sn") as node:
                await get(request(tmp_path, origin.url("/f"), name, node))
        assert origin.bytes_sent("/f") == 2 * len(DATA)
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_an_origin_that_is_gone_does_not_take_the_copy_with_it(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        url = origin.url("/f")
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, url, "a", node))
    async with running_supernode(tmp_path / "sn") as node:
        outcome = await get(request(tmp_path, url, "b", node, back_to_source=False))
    assert outcome.code is FailCode.SUCCESS
    assert (tmp_path / "b.out").read_bytes() == DATA


@pytest.mark.parametrize(
    ("status", "is_given"), [(503, True), (429, True), (404, False), (401, False)]
)
async def test_what_the_origin_says_instead(tmp_path: Path, status: int, is_given: bool) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "a", node))
        origin.put("/f", DATA, status=status)
        async with running_supernode(tmp_path / "sn") as node:
            wanted = request(tmp_path, origin.url("/f"), "b", node, back_to_source=False)
            outcome = await get(wanted)
        assert (outcome.code is FailCode.SUCCESS) is is_given
        if not is_given:
            assert str(status) in outcome.message
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "c", node))
        assert origin.bytes_sent("/f") < 1.1 * len(DATA), "the copy is there all the same"


async def test_content_that_changes_in_mid_life_is_read_anew(tmp_path: Path) -> None:
    big = random.Random(9).randbytes(12_000_000)
    with OriginServer() as origin:
        origin.put("/f", big)
        async with (
            running_supernode(tmp_path / "sn", revalidate_s=0.001) as node,
            HttpPool() as pool,
        ):
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
            target = f"/download/{outcome.task[:3]}/{outcome.task}"
            async with pool.open(
                node.host, node.download_port, "GET", target, timeout_s=10
            ) as upload:
                buffer = memoryview(bytearray(1000))
                begun = bytes(buffer[: await upload.readinto(buffer)])
                origin.put("/f", FRESH)
                await get(request(tmp_path, origin.url("/f"), "b", node))
                rest = await upload.read(1 << 24)
            await get(request(tmp_path, origin.url("/f"), "c", node))
        assert origin.bytes_sent("/f") == len(big) + len(FRESH) + 1
    assert (tmp_path / "b.out").read_bytes() == FRESH
    assert (tmp_path / "c.out").read_bytes() == FRESH
    assert begun + rest == wrapped(big), "who was being sent the old copy got all of it"


async def test_peers_in_mid_download_move_to_the_new_content(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn", revalidate_s=0.001) as node:
            under_way = trio.Event()

            def held(count: int) -> None:
                if count >= 2 * PIECE:
                    under_way.set()

            slow = request(tmp_path, origin.url("/f"), "a", node, local_limit_bytes_per_s=3_000_000)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(get, slow, Notes(when_held=held))
                await under_way.wait()
                origin.put("/f", FRESH)
                await get(request(tmp_path, origin.url("/f"), "b", node))
    assert (tmp_path / "a.out").read_bytes() == FRESH
    assert (tmp_path / "b.out").read_bytes() == FRESH


# --- what is on disk ------------------------------------------------------------------------------


async def test_a_piece_that_rots_is_found_out_and_read_again(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
            with path_of(tmp_path / "sn", outcome).open("r+b") as file:
                file.seek(PIECE + 1000)
                file.write(b"rot")
            notes = Notes()
            wanted = request(tmp_path, origin.url("/f"), "b", node, back_to_source=False)
            outcome = await get(wanted, notes)
        assert outcome.code is FailCode.SUCCESS
        assert Milestone.PARENT_FAILED in {kind for kind, _ in notes.told_of}
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_rot_found_when_a_copy_is_opened_costs_the_rest_only(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
        with path_of(tmp_path / "sn", outcome).open("r+b") as file:
            file.seek(3 * PIECE + 1000)
            file.write(b"rot")
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "b", node))
        assert origin.bytes_sent("/f") == len(DATA) + len(DATA) - 3 * PIECE
    assert (tmp_path / "b.out").read_bytes() == DATA


async def test_a_digest_given_is_checked_in_a_copy_and_a_resumed_read(tmp_path: Path) -> None:
    md5 = hashlib.md5(DATA).hexdigest()
    with OriginServer() as origin:
        origin.put("/f", DATA, cut_at=3_000_000)
        async with running_supernode(tmp_path / "sn") as node:
            wanted = request(tmp_path, origin.url("/f"), "a", node, md5=md5, back_to_source=False)
            async with trio.open_nursery() as nursery:
                outcome: list[Outcome] = []

                async def run() -> None:
                    outcome.append(await get(wanted))

                nursery.start_soon(run)
                await until(lambda: bool(origin.requests("/f")))
                origin.put("/f", DATA)
            assert outcome[0].code is FailCode.SUCCESS
        before = len(origin.requests("/f"))
        async with running_supernode(tmp_path / "sn") as node:
            again = request(tmp_path, origin.url("/f"), "b", node, md5=md5, back_to_source=False)
            assert (await get(again)).code is FailCode.SUCCESS
        assert len(origin.requests("/f")) == before, "the digest says all that an origin could"


async def test_times_of_use_are_kept_with_the_copy(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn") as node:
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node))
        path = path_of(tmp_path / "sn", outcome)
        assert when_used(path).interval_s == 0
        used_s = when_used(path).last_s
        mark_used(path, used_s - 7200, None)
        async with running_supernode(tmp_path / "sn") as node:
            await get(request(tmp_path, origin.url("/f"), "b", node))
        assert when_used(path).last_s >= used_s
        assert when_used(path).interval_s == pytest.approx(7200, abs=60)


async def test_a_full_disk_is_cleared_of_what_nobody_uses(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, OriginServer() as origin:
        origin.put("/a", DATA[:400_000])
        origin.put("/b", DATA[:900_000])
        async with forgetful(disk) as node:
            first = await get(request(tmp_path, origin.url("/a"), "a", node))
            await until_idle(node)
            assert path_of(disk, first).exists()
            second = await get(request(tmp_path, origin.url("/b"), "b", node, back_to_source=False))
        assert second.code is FailCode.SUCCESS
        assert not path_of(disk, first).exists()
    assert (tmp_path / "b.out").read_bytes() == DATA[:900_000]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_disk_that_stays_full_fails_the_task_and_serving_goes_on(
    tmp_path: Path, chunked: bool
) -> None:
    with small_disk(tmp_path / "disk") as disk, OriginServer() as origin:
        origin.put("/a", DATA[:400_000])
        origin.put("/b", DATA[:900_000], chunked=chunked)
        async with running_supernode(disk) as node:
            await get(request(tmp_path, origin.url("/a"), "a", node))
            wanted = request(tmp_path, origin.url("/b"), "b", node, back_to_source=False)
            failed = await get(wanted)
            assert failed.code is FailCode.DOWNLOAD_FAILED
            reason = "No space left on device" if chunked else "900000 bytes are needed"
            assert reason in failed.message
            await until(lambda: not path_of(disk, failed).exists())
            third = await get(request(tmp_path, origin.url("/a"), "c", node))
            assert third.code is FailCode.SUCCESS
            assert third.progress.from_supernode == 400_000


async def test_the_disk_is_tidied_by_the_clock(tmp_path: Path) -> None:
    with OriginServer() as origin:
        for name in ("/a", "/b"):
            origin.put(name, DATA[:100_000])
        tidy = partial(forgetful, gc_disk_interval_s=0.05, young_gc_bytes=1 << 60)
        async with tidy(tmp_path / "sn") as node:
            outcomes = [
                await get(request(tmp_path, origin.url(path), path[1:], node))
                for path in ("/a", "/b")
            ]
            stranger = path_of(tmp_path / "sn", outcomes[0]).with_name("notes.txt")
            stranger.write_text("mine")
            paths = [path_of(tmp_path / "sn", outcome) for outcome in outcomes]
            await until(lambda: not any(path.exists() for path in paths))
            await until(lambda: not any(sidecar_path(path).exists() for path in paths))
        assert stranger.read_text() == "mine"


# --- whom to trust --------------------------------------------------------------------------------


async def test_a_task_brings_the_authority_it_trusts(tmp_path: Path) -> None:
    with OriginServer(tls=True) as origin:
        for path in ("/f", "/g"):
            origin.put(path, DATA)
        async with running_supernode(tmp_path / "sn") as node:
            get_strictly = partial(request, tmp_path, back_to_source=False)
            told = await get(get_strictly(origin.url("/f"), "a", node, root_cas=(CA,)))
            untold = await get(get_strictly(origin.url("/g"), "b", node))
            insecure = await get(get_strictly(origin.url("/g"), "c", node, insecure=True))
            nonsense = await get(get_strictly(origin.url("/g?x"), "d", node, root_cas=("x?",)))
    assert told.code is FailCode.SUCCESS
    assert untold.code is FailCode.DOWNLOAD_FAILED
    assert "not trusted" in untold.message
    assert insecure.code is FailCode.DOWNLOAD_FAILED, "the origin's failure is remembered briefly"
    assert nonsense.code is FailCode.DOWNLOAD_FAILED
    assert "root CA 1 is no PEM certificate in base64" in nonsense.message
    assert (tmp_path / "a.out").read_bytes() == DATA


# --- many origins ---------------------------------------------------------------------------------


async def test_dead_origins_do_not_hold_up_a_good_one(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/good", DATA)
        dead = [f"/dead/{number}" for number in range(20)]
        for number, path in enumerate(dead):
            if number % 2:
                origin.put(path, DATA, silent=True)
            else:
                origin.put(path, DATA, stall_at=PIECE + 10)
        async with running_supernode(tmp_path / "sn") as node, trio.open_nursery() as nursery:
            for number, path in enumerate(dead):
                nursery.start_soon(get, request(tmp_path, origin.url(path), f"d{number}", node))
            with trio.fail_after(60):
                await until(lambda: all(origin.requests(path) for path in dead))
                outcome = await get(request(tmp_path, origin.url("/good"), "good", node))
            nursery.cancel_scope.cancel()
    assert outcome.code is FailCode.SUCCESS
    assert outcome.progress.from_supernode == len(DATA)


async def test_names_that_nobody_can_look_up_hold_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, go_on, asked = socket.getaddrinfo, threading.Event(), list[object]()

    def slowly(host: str | bytes, port: int, *args: Any) -> Any:
        is_main = threading.current_thread() is threading.main_thread()  # it asks for addresses
        if "invalid" in str(host) and not is_main:
            asked.append(host)
            assert go_on.wait(60)
        return look_up(host, port, *args)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    names = [f"http://n{number}.invalid/f" for number in range(60)]
    with OriginServer() as origin:
        origin.put("/f", DATA)
        url = origin.url("/f").replace("127.0.0.1", "localhost")
        async with running_supernode(tmp_path / "sn") as node, trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                nursery.start_soon(get, request(tmp_path, name, f"n{number}", node))
            await until(lambda: len(asked) == len(names))
            outcome = await get(request(tmp_path, url, "a", node))
            nursery.cancel_scope.cancel()
            go_on.set()
    assert outcome.code is FailCode.SUCCESS
    assert outcome.progress.from_supernode == len(DATA)


# --- a supernode that is restarted ----------------------------------------------------------------


async def test_a_supernode_restarted_midway_goes_on_and_so_does_everybody(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    outcomes: list[Outcome] = []
    with OriginServer() as origin:
        origin.put("/f", DATA, rate_bytes_per_s=4e6)
        under_way = trio.Event()

        def held(count: int) -> None:
            if count >= 2 * PIECE:
                under_way.set()

        async def run(name: str, node: SupernodeAddress) -> None:
            wanted = request(tmp_path, origin.url("/f"), name, node, back_to_source=False)
            outcomes.append(await get(wanted, Notes(when_held=held)))

        async with trio.open_nursery() as nursery:
            async with running_supernode(tmp_path / "sn") as node:
                for name in names:
                    nursery.start_soon(run, name, node)
                await under_way.wait()
            before = origin.bytes_sent("/f")
            assert before < len(DATA), "it died in the middle of its own read"
            async with running_supernode(tmp_path / "sn", at=node):
                await until(lambda: len(outcomes) == len(names))
        assert origin.bytes_sent("/f") <= len(DATA) + PIECE
    for outcome in outcomes:
        assert outcome.code is FailCode.SUCCESS
        assert outcome.progress.from_supernode == len(DATA), "no piece was fetched twice"
    for name in names:
        assert (tmp_path / f"{name}.out").read_bytes() == DATA


# --- peers that read the origin themselves --------------------------------------------------------


async def test_with_pattern_source_the_supernode_keeps_nothing(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn", cdn_pattern=CdnPattern.SOURCE) as node:
            headers = ("X-Mine: yes",)
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node, headers=headers))
            found = await stats_of(node)
        asked = origin.requests("/f")
        assert (found["origin_bytes"], found["upload_bytes"]) == (0, 0)
        assert asked[0].headers["range"] == "bytes=0-0"
        assert len(asked) == 6
        assert all(one.headers["x-mine"] == "yes" for one in asked)
        assert origin.bytes_sent("/f") == len(DATA) + 1
    assert (outcome.code, outcome.reason) == (FailCode.SUCCESS, 0)
    assert outcome.progress.from_origin == len(DATA)
    assert (tmp_path / "a.out").read_bytes() == DATA


async def test_a_part_of_a_file_is_shared_out_too(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA)
        async with running_supernode(tmp_path / "sn", cdn_pattern=CdnPattern.SOURCE) as node:
            headers = ("Range: bytes=100000-2999999",)
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node, headers=headers))
    assert (outcome.code, outcome.length) == (FailCode.SUCCESS, 2_900_000)
    assert (tmp_path / "a.out").read_bytes() == DATA[100_000:3_000_000]


async def test_an_origin_without_ranges_is_left_to_each_peer(tmp_path: Path) -> None:
    with OriginServer() as origin:
        origin.put("/f", DATA, ranges=False)
        async with running_supernode(tmp_path / "sn", cdn_pattern=CdnPattern.SOURCE) as node:
            notes = Notes()
            outcome = await get(request(tmp_path, origin.url("/f"), "a", node), notes)
    assert outcome.code is FailCode.SUCCESS
    assert "honour ranges" in notes.text_of(Milestone.BACK_TO_SOURCE)
    assert (tmp_path / "a.out").read_bytes() == DATA


def test_the_layout_of_plain_pieces() -> None:
    layout = PieceLayout(9_000_000, 4 << 20, plain=True)
    assert (layout.count, layout.wrapped_length) == (3, 9_000_000)
