from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from damselfly.engine.errors import ConfigError
from damselfly.engine.piece import PieceSizePolicy
from damselfly.sim import scenario_file
from damselfly.sim.draw import draw
from damselfly.sim.misfortunes import (
    Churn,
    Corruption,
    Crash,
    Cut,
    Outage,
    Partition,
    Slowdown,
    SupernodeCrash,
)
from damselfly.sim.population import PeerClass, Uploads
from damselfly.sim.scenario import NetworkModel, Scenario, SupernodeChoice
from damselfly.sim.swarm import Swarm
from damselfly.sim.topology import Topology

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = scenario_file.names()


def load(folder: Path, text: str) -> Scenario:
    path = folder / "test.yml"
    path.write_text(text, encoding="utf-8")
    return scenario_file.load(path)


def test_units_may_be_written_or_left_out(tmp_path: Path) -> None:
    written = "file_bytes: 200MB\npeer_up_bytes_per_s: 200mbit\nlatency_s: 2ms\npiece_size: 2MiB\n"
    bare = "file_bytes: 2e8\npeer_up_bytes_per_s: 25e6\nlatency_s: .002\npiece_size: 2097152\n"
    scenario = load(tmp_path, written)
    assert scenario == load(tmp_path, bare)
    assert scenario == Scenario(
        file_bytes=200_000_000, peer_up_bytes_per_s=25e6, latency_s=0.002, piece_size=2 << 20
    )
    assert isinstance(scenario.file_bytes, int)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == Scenario()


EVERYTHING = Scenario(
    peers=4,
    files=3,
    files_each=2,
    piece_size=PieceSizePolicy.DRAGONFLY,
    peer_up_bytes_per_s=(1e6, 2e6, 3e6, 4.5e6),
    classes=(PeerClass(0.5, up=0.1, uploads=Uploads.REFUSED), PeerClass(0.25, disk_bytes=7)),
    supernodes=2,
    supernode_choice=SupernodeChoice.SPREAD,
    topology=Topology(sites=2, racks=3, site_bytes_per_s=1e9, latencies_s=((0, 0.1), (0.2, 0))),
    network=NetworkModel.MAX_MIN,
    peer_servers=True,
    arrivals_s=(0.0, 1.0, 2.0, 3.5),
    linger_s=0.0,
    crashes=(Crash(1, 2.0, 3.0),),
    churn=(Churn(0.5, 0.0, 1.0),),
    supernode_crashes=(SupernodeCrash(1.0, 1, loses_disk=True),),
    slowdowns=(Slowdown(0.1, 1.0, up=0.0),),
    partitions=(Partition(0.0, 1.0, site=1, cut=Cut.OUT),),
    corruptions=(Corruption(2), Corruption(3, 4)),
    origin_outages=(Outage(1.0, 2.0),),
    seed=7,
    until_s=100.0,
)


def test_what_is_dumped_is_loaded(tmp_path: Path) -> None:
    text = scenario_file.dump(EVERYTHING)
    assert load(tmp_path, text) == EVERYTHING
    assert "file_bytes:" not in text  # as by default
    assert scenario_file.dump(Scenario()).strip() == "{}"
    assert load(tmp_path, scenario_file.dump(Scenario())) == Scenario()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_drawn_can_be_dumped_and_loaded(tmp_path: Path, seed: int) -> None:
    scenario = draw(seed)
    assert load(tmp_path, scenario_file.dump(scenario)) == scenario


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("peers: 5\nper: 3\n", 2, "per: unknown key; did you mean peers?"),
        ("zzz: 3\n", 1, "zzz: unknown key; expected one of peers, file_bytes, "),
        ("peers: 5\npeers: 6\n", 2, "peers: given twice, first in line 1"),
        ("peers: many\n", 1, "peers is 'many': expected an integer"),
        ("peers: 2.5\n", 1, "peers is '2.5': expected an integer"),
        ("peers: true\n", 1, "peers is 'true': expected an integer"),
        ("peers: [1]\n", 1, "peers is '[...]': expected an integer"),
        ("peers:\n", 1, "peers is '': expected an integer"),
        ("\n\nlatency_s: 5 parsecs\n", 3, "latency_s is '5 parsecs': expected a duration like"),
        ("latency_s: .nan\n", 1, "latency_s is '.nan': expected a duration"),
        ("file_bytes: 3mbit\n", 1, "file_bytes is '3mbit': expected a size like 200MB"),
        ("origin_bytes_per_s: 3MB\n", 1, "origin_bytes_per_s is '3MB': expected a rate like"),
        ("piece_size: huge\n", 1, "piece_size is 'huge': expected a size like 1MiB or adaptive or"),
        ("network: ring\n", 1, "network is 'ring': expected share or maxmin"),
        ("policy: 3\n", 1, "policy is '3': expected a name"),
        ("seed: 1\npolicy: best\n", 2, "policy is 'best': expected "),
        ("back_to_source: 1\n", 1, "back_to_source is '1': expected true or false"),
        ("classes: {share: 1}\n", 1, "classes is '{...}': expected a list"),
        ("classes:\n- {share: 1}\n- 3\n", 3, "classes is '3': expected keys with values"),
        ("classes:\n- up: 1\n", 2, "classes: share must be given"),
        ("churn: [{share: 1, until_s: 2}]\n", 1, "churn: from_s must be given"),
        (
            "topology:\n  sites: 2\n  rack: 3\n",
            3,
            "topology.rack: unknown key; did you mean racks?",
        ),
        ("arrivals_s: [0, 1s, x]\n", 1, "arrivals_s is 'x': expected a duration"),
        # what the values are checked for
        ("peers: 0\n", 1, "peers is 0: expected at least 1"),
        ("seed: 1\npeer_up_bytes_per_s: -1\n", 2, "peer_up_bytes_per_s is -1.0: expected more"),
        ("seed: 1\n\nlatency_s: -1ms\n", 3, "latency_s is '-1ms': expected a duration"),
        ("churn:\n- share: 1\n  from_s: 2\n  until_s: 1\n", 4, "churn.until_s is 1.0: expected at"),
        ("peers: 3\ncrashes:\n- {peer: 3, at_s: 0}\n", 2, "crashes.peer is 3: expected 0 to 2"),
        ("topology:\n  sites: 0\n", 2, "topology.sites is 0: expected at least 1"),
        ("classes:\n- {share: .6}\n- {share: .6}\n", 1, "classes have shares of more than 1"),
        (
            "seed: 1\nsupernodes: 0\nback_to_source: false\n",
            2,
            "supernodes is 0 from the start and back_to_source is false: no seed or origin",
        ),
        # what is not a scenario at all
        ("- peers\n", 1, "a scenario: expected keys with values"),
        ("peers: [1\nseed: 2\n", 2, "no valid YAML: "),
        ("peers: \x07\n", 1, "no valid YAML: "),
        ("a: &x [*x]\n", 1, "a: unknown key"),
        ("classes: &x [*x]\n", 1, "classes is '[...]': expected keys with values"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_key(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'test.yml'}:{line}: {says}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_bytes(b"\xff\xfe\xff")
    for name in ("bad.yml", "none.yml"):
        with pytest.raises(ConfigError, match=rf"scenario .*{name}: cannot be read"):
            scenario_file.load(tmp_path / name)


def test_a_name_is_a_file_or_a_scenario_that_comes_along(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text("peers: 3\n")
    assert scenario_file.find(str(mine)) == mine
    assert scenario_file.find("flash-crowd").name == "flash-crowd.yml"
    with pytest.raises(ConfigError, match=r"scenario flesh-crowd: .* did you mean flash-crowd\?"):
        scenario_file.find("flesh-crowd")
    with pytest.raises(ConfigError, match=r"scenario qqqq: .* expected a file, or one of bus"):
        scenario_file.find("qqqq")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_scenario_that_comes_along_can_be_loaded_and_says_what_it_is(name: str) -> None:
    path = scenario_file.find(name)
    assert path.read_text().startswith("# ")
    scenario = scenario_file.load(path)
    assert name == "flash-crowd" or scenario != Scenario()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_small_swarm_gets_through_every_scenario_that_comes_along(name: str) -> None:
    scenario = scenario_file.load(scenario_file.find(name))
    file_bytes = min(scenario.file_bytes, 12_000_000 // scenario.files)
    small = replace(scenario, peers=40, file_bytes=file_bytes)
    report = Swarm(small).run()
    assert report.unfinished == 0
    assert len(report.completions_s) >= 40 - report.crashed - report.without_room


def test_published_set_ups_are_what_was_published() -> None:
    readme, kraken = (
        scenario_file.load(scenario_file.find(name)) for name in ("dragonfly-readme", "kraken")
    )
    assert (readme.file_bytes, readme.supernodes) == (200_000_000, 2)
    assert (readme.peer_up_bytes_per_s, readme.supernode_bytes_per_s) == (25e6, 250e6)
    assert (kraken.peers, kraken.wanted_bytes(0)) == (2600, 3_000_000_000)
    assert kraken.peer_down_bytes_per_s == 300e6
