"""How long does skopeo take for an image directly from a registry, and through a dfdaemon?

Each round has an image of its own, pulled four times: directly; through a daemon, while neither it
nor the swarm has anything; through it again; and through a second daemon, which has a peer then.
Last, ten clients ask a third daemon for one large blob at once.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.dfdaemon.daemon import Daemon, Supernode
from tests.dfdaemon.image import make_image
from tests.dfdaemon.processes import peak_memory_bytes
from tests.dfdaemon.registry import Registry
from tests.dfdaemon.skopeo import Skopeo, assert_same_image

from .machine import needed, settle
from .results import Result, Spread, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.dfdaemon.image import Image


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: ``rounds``, each with an image of two layers of so many bytes.

    ``blob_bytes`` is what many clients ask for at once.
    """

    rounds: int
    layer_bytes: int
    blob_bytes: int


FULL: Final = Plan(rounds=7, layer_bytes=10_000_000, blob_bytes=200_000_000)
QUICK: Final = Plan(rounds=1, layer_bytes=300_000, blob_bytes=2_000_000)
_CLIENTS: Final = 10
DIRECT, COLD, WARM, PEER = "direct", "cold", "warm", "peer"
_ROWS: Final = {
    DIRECT: "directly from the registry",
    COLD: "through dfdaemon, cold swarm",
    WARM: "through the same dfdaemon again",
    PEER: "through another dfdaemon, which has a peer",
}


@dataclass(frozen=True, slots=True)
class Field:
    """Where the pulls happen."""

    folder: Path
    registry: Registry
    daemons: tuple[Daemon, ...]
    skopeo: Skopeo


def measure(plan: Plan = FULL) -> Result:
    """Pull images; raises ``Missing`` without skopeo, docker-registry or curl."""
    for program in ("skopeo", "docker-registry", "curl"):
        needed(program, program)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ExitStack() as stack:
        folder = Path(name)
        registry = stack.enter_context(Registry(folder / "registry"))
        node = stack.enter_context(Supernode(folder / "node")).node
        config = {"registry_mirror": {"remote": registry.url}}
        daemons = tuple(
            [stack.enter_context(Daemon(folder / name, config, node=node)) for name in "abc"]
        )
        field = Field(folder, registry, daemons, Skopeo(folder / "skopeo"))
        took = _images(field, plan)
        sources = [line.source for daemon in daemons for line in daemon.blobs()]
        assert set(sources) == {"p2p", "cache"}, sources
        many_s = _many(field, plan)
        peaks = [peak_memory_bytes(daemon.running.process.pid) / 1e6 for daemon in daemons]
    return _result(plan, took, many_s, peaks)


def _images(field: Field, plan: Plan) -> dict[str, Spread]:
    first, second, _ = field.daemons
    places = {
        DIRECT: field.registry.address,
        COLD: first.address,
        WARM: first.address,
        PEER: second.address,
    }
    took: dict[str, list[float]] = {what: [] for what in places}
    for number in range(plan.rounds):
        name = f"image:{number}"
        image = make_image(field.folder / f"image{number}", (plan.layer_bytes,) * 2, seed=number)
        field.skopeo.push(image, field.registry, name)
        for what, place in places.items():
            into = field.folder / "skopeo" / what
            took[what].append(_pull(field.skopeo, f"{place}/{name}", image, into))
    return {what: Spread(tuple(seconds)) for what, seconds in took.items()}


def _many(field: Field, plan: Plan) -> float:
    """Return how long clients take that ask for one blob at once; the registry is read once."""
    image = make_image(field.folder / "large", (plan.blob_bytes,), seed=-1)
    field.skopeo.push(image, field.registry, "large:1")
    (layer,) = image.layers
    url = f"{field.daemons[2].url}/v2/large/blobs/{layer}"
    command = f"curl --silent --fail {url} | sha256sum"
    began = time.perf_counter()
    clients = [
        subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, text=True)
        for _ in range(_CLIENTS)
    ]
    hashes = {client.communicate()[0].split()[0] for client in clients}
    seconds = time.perf_counter() - began
    assert hashes == {layer.partition(":")[2]}, hashes
    reads = [call for call in field.registry.blob_reads() if layer in call.uri]
    assert sum([call.sent_bytes for call in reads]) == len(image.content[layer]), reads
    return seconds


def _pull(skopeo: Skopeo, place: str, image: Image, into: Path) -> float:
    began = time.perf_counter()
    pulled = skopeo.pull(place, into.name, "--src-tls-verify=false")
    seconds = time.perf_counter() - began
    assert_same_image(pulled, image)
    shutil.rmtree(into)
    return seconds


def _result(
    plan: Plan, took: Mapping[str, Spread], many_s: float, peaks_mb: Sequence[float]
) -> Result:
    direct, large = took[DIRECT].median, f"{plan.blob_bytes / 1e6:.0f} MB"
    rows = [
        (_ROWS[what], spread.text(3), f"{spread.median / direct:.2f}")
        for what, spread in took.items()
    ]
    rows.append((f"{_CLIENTS} curls, one cold blob of {large}", f"{many_s:.3f}", ""))
    summary = (
        f"{2 * plan.layer_bytes / 1e6:.0f} MB in two layers, {plan.rounds} rounds. skopeo needs"
        f" {took[COLD].median:.2f} s through a dfdaemon with a cold swarm,"
        f" {took[WARM].median:.2f} s the second time, {direct:.2f} s directly. The daemon had"
        f" {peaks_mb[0]:.0f} MB of memory at most, and {peaks_mb[2]:.0f} MB with {_CLIENTS} clients"
        f" of a blob of {large}, which it read once."
    )
    figures = {f"{what} s": spread.median for what, spread in took.items()} | {
        "many clients s": many_s,
        "daemon peak memory MB": peaks_mb[0],
        "daemon peak memory with many clients MB": peaks_mb[2],
    }
    table = Table(("what", "seconds", "to direct"), tuple(rows))
    return Result("dfdaemon", summary, table, figures)


def main() -> None:
    """Measure and print."""
    settle()
    print(measure())


if __name__ == "__main__":
    main()
