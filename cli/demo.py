"""``make demo``: one origin, one supernode and some peers on this machine, and the proof.

All are real processes that talk over loopback; each peer has a work home and an address of its
own, as if it were a host.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import trio

from ..engine.errors import ConfigError
from ..engine.records import dataclass
from ..net.http import HttpPool
from .command import Command, Option
from .demo_origin import COUNT_PATH
from .demo_report import PlainScreen, TerminalScreen, Verdict
from .demo_swarm import DemoError, Peer, end_peer_servers, start_origin, start_supernode
from .interrupt import until_signal
from .status import ExitError, ExitStatus, run_program
from .units import parse_size
from .values import parse_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .demo_report import Screen

_FIRST_IP: Final = IPv4Address("127.0.0.11")
_MAX_PEERS: Final = 200
_KILL_AT: Final = 0.3
_DRAW_EVERY_S: Final = 0.1
_PATIENCE_S: Final = 60.0
_ASK_TIMEOUT_S: Final = 10.0
_BLOCK_BYTES: Final = 4 << 20


def parse_peers(text: str) -> int:
    """Return how many peers; raises ``ConfigError``."""
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_PEERS:
        raise ConfigError(f"peers {text!r}: expected 1 to {_MAX_PEERS}")
    return int(text)


@dataclass(slots=True)
class DemoFlags:
    """What the demo was told."""

    url: str = ""
    peers: int = 5
    size: int = 256_000_000
    kill: bool = False
    json: str = "demo.json"
    verbose: bool = False


DEMO: Final = Command(
    "demo",
    "Distribute a file from a real origin to real peers on this machine, and verify it.",
    (
        Option("url", "distribute this instead of a random file", "URL"),
        Option("peers", "how many (default: 5)", "N", parse=parse_peers),
        Option("size", "size of the random file (default: 256MB)", "SIZE", parse=parse_size),
        Option("kill", "kill one more peer midway, with SIGKILL"),
        Option("json", "where the figures go (default: demo.json)", "FILE"),
        Option("verbose", "show tracebacks"),
    ),
    DemoFlags,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return 0 if all went as it should."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program("demo", partial(_command, arguments), verbose="--verbose" in arguments)


def _command(arguments: list[str]) -> ExitStatus:
    flags = DEMO.parse(arguments)
    if flags.url:
        parse_url(flags.url)
    with tempfile.TemporaryDirectory(prefix="damselfly-demo-") as name:
        folder = Path(name).resolve()
        if not flags.url:
            _check_space(flags, folder)
            os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
        verdict = trio.run(until_signal, partial(_demo, flags, folder))
    print(verdict.table(), flush=True)
    verdict.write(Path(flags.json))
    if problems := verdict.problems():
        raise ExitError("; ".join(problems), ExitStatus.FAILED)
    return ExitStatus.SUCCESS


async def _demo(flags: DemoFlags, folder: Path) -> Verdict:
    """Set everything up, let the peers download, and look at what they got."""
    try:
        async with trio.open_nursery() as nursery:
            origin = await _Origin.start(nursery, flags, folder)
            node = await start_supernode(nursery, folder / "supernode")
            peers = _peers(flags, folder)
            print(f"{flags.peers} peers get {origin.url}, supernode {node}", flush=True)
            await _download(peers, origin.url, node)
            await _hash(peers)
            stats = cast("dict[str, int]", json.loads(await _ask(node, "/damselfly/stats")))
            if origin.address:
                origin_bytes = int(await _ask(origin.address, COUNT_PATH))
            else:
                origin_bytes = stats["origin_bytes"] + sum(peer.from_origin for peer in peers)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await end_peer_servers(folder)
    return Verdict(tuple(peers), origin.sha256, origin_bytes, stats["upload_bytes"])


@dataclass(frozen=True, slots=True)
class _Origin:
    """What is distributed; ``address`` and ``sha256`` are empty if it is the user's own."""

    url: str
    address: str = ""
    sha256: str = ""

    @classmethod
    async def start(cls, nursery: trio.Nursery, flags: DemoFlags, folder: Path) -> _Origin:
        if flags.url:
            return cls(flags.url)
        file = folder / "demo.bin"
        sha256 = await trio.to_thread.run_sync(_make_file, file, flags.size)
        address = await start_origin(nursery, file)
        return cls(f"http://{address}/{file.name}", address, sha256)


def _peers(flags: DemoFlags, folder: Path) -> list[Peer]:
    count = flags.peers + flags.kill
    peers = [
        Peer(f"peer {number + 1}", folder / f"peer{number + 1}", str(_FIRST_IP + number))
        for number in range(count)
    ]
    if flags.kill:
        peers[-1].kill_at = _KILL_AT
        if not flags.url:
            # However fast the machine, there is a midway at which to kill it.
            peers[-1].flags = ("-s", str(max(1, flags.size // 2)))
    return peers


async def _download(peers: Sequence[Peer], url: str, node: str) -> None:
    is_terminal = sys.stdout.isatty()
    screen = TerminalScreen(sys.stdout) if is_terminal else PlainScreen(sys.stdout)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, peers, screen)
            async with trio.open_nursery() as swarm:
                for peer in peers:
                    swarm.start_soon(peer.run, url, node)
            screen.draw(peers)
            nursery.cancel_scope.cancel()
    finally:
        screen.close()


async def _watch(peers: Sequence[Peer], screen: Screen) -> None:
    """Draw the peers now and then; give up when none of them gets any further."""
    held, since = -1, trio.current_time()
    while True:
        screen.draw(peers)
        if (now_held := sum(peer.held_bytes for peer in peers)) != held:
            held, since = now_held, trio.current_time()
        if trio.current_time() - since > _PATIENCE_S:
            raise DemoError(f"no peer has got a byte for {_PATIENCE_S:g} s")
        await trio.sleep(_DRAW_EVERY_S)


async def _hash(peers: Sequence[Peer]) -> None:
    async def work(peer: Peer) -> None:
        peer.sha256 = await trio.to_thread.run_sync(_sha256, peer.output)

    async with trio.open_nursery() as nursery:
        for peer in peers:
            if peer.is_done and not peer.error:
                nursery.start_soon(work, peer)


async def _ask(address: str, target: str) -> bytes:
    host, _, port = address.rpartition(":")
    async with HttpPool() as pool:
        status, _, body = await pool.call(host, int(port), "GET", target, timeout_s=_ASK_TIMEOUT_S)
    if status != 200:
        raise DemoError(f"http://{address}{target} answered {status}")
    return body


def _check_space(flags: DemoFlags, folder: Path) -> None:
    needed = flags.size * (flags.peers + flags.kill + 2)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"{folder.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: take"
            " a smaller --size or fewer --peers, or name another place in TMPDIR"
        )


def _make_file(path: Path, size: int) -> str:
    """Write ``size`` random bytes and return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, _BLOCK_BYTES):
            block = os.urandom(min(_BLOCK_BYTES, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
