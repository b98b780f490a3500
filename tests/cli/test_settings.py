from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.cli.config_file import default_file, dfget_choice, supernode_choice
from damselfly.cli.config_keys import DFGET_KEYS, SUPERNODE_KEYS
from damselfly.cli.options import DFGET, DFGET_SERVER, SUPERNODE
from damselfly.cli.settings import (
    answers,
    by_weight,
    fetch_request,
    peer_server_config,
    supernode_file,
    supernode_settings,
)
from damselfly.cli.values import (
    WeightedNode,
    file_name_of,
    parse_duration,
    parse_filter,
    parse_header,
    parse_ip,
    parse_lifetime,
    parse_nodes,
    parse_port,
    parse_url,
)
from damselfly.engine.config import CdnPattern, SupernodeConfig
from damselfly.engine.errors import ConfigError
from damselfly.engine.ids import NodeAddress
from damselfly.engine.piece import PieceSizePolicy
from damselfly.net.pacing import Bandwidth
from damselfly.net.request import FetchRequest, Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from damselfly.net.supernode import SupernodeSettings

URL = "http://origin.example/dir/file.bin"


def resolved(
    *arguments: str,
    file: Path = Path("/nowhere/dfget.yml"),
    is_there: bool = False,
    environ: Mapping[str, str] | None = None,
) -> FetchRequest:
    flags = DFGET.parse(["-u", URL, *arguments])
    chosen = dfget_choice(flags, environ or {}, [file])
    return fetch_request(flags, chosen, is_there=lambda _: is_there)


def supernode(
    *arguments: str,
    file: Path = Path("/nowhere/x.yml"),
    home: str = "/sn",
    environ: Mapping[str, str] | None = None,
) -> SupernodeSettings:
    flags = SUPERNODE.parse(arguments)
    chosen = supernode_choice(flags, environ or {}, supernode_file(flags, file))
    return supernode_settings(flags, chosen, v1_home=Path(home))


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("20ms", 0.02),
        ("1s20us30ns", 1.00002003),
    ],
)
def test_durations_of_old_and_new_dfgets(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("10.0.0.1", WeightedNode(NodeAddress("10.0.0.1", 8002))),
        ("sn.example:9000", WeightedNode(NodeAddress("sn.example", 9000))),
        ("10.0.0.1=3", WeightedNode(NodeAddress("10.0.0.1"), 3)),
        ("10.0.0.1:9000=2", WeightedNode(NodeAddress("10.0.0.1", 9000), 2)),
        ("[fe80::1]:9000", WeightedNode(NodeAddress("fe80::1", 9000))),
    ],
)
def test_nodes(text: str, node: WeightedNode) -> None:
    assert parse_nodes(text) == (node,)
    assert parse_nodes(f"{text}, {text}") == (node, node)


@pytest.mark.parametrize(
    ("parse", "bad"),
    [
        (parse_duration, ["", "x", "5 m", "-5", "5m3", "1d", "1e3"]),
        (parse_nodes, ["", "a,", "http://a", "a:0", "a:70000", "a=0", "a:b", "a b", "[::1"]),
        (parse_header, ["Accept", "Acc ept:x", ":x", "A:b\r\nC:d", "A:b\nC", "A:\0"]),
        (parse_lifetime, ["--1s", "-", "x"]),
        (parse_port, ["", "-1", "65536", "http", "\u0665"]),
        (parse_ip, ["", "localhost", "1.2.3", "300.1.1.1"]),
        (
            parse_url,
            [
                "",
                "abc",
                "ftp://h/f",
                "http://",
                "http:///f",
                "http://h:x/f",
                "http://h/a b",
                "//h/f",
            ],
        ),
        (file_name_of, ["http://", "http://h/..", "http://h/./"]),
    ],
)
def test_values_that_make_no_sense(parse: Callable[[str], object], bad: list[str]) -> None:
    for text in bad:
        with pytest.raises(ConfigError):
            parse(text)


def test_errors_hide_secrets() -> None:
    with pytest.raises(ConfigError) as header:
        parse_header("Author ization: Bearer s3cret")
    assert "s3cret" not in str(header.value)
    for text in ("ftp://u:s3cret@h/f", "http://u:s3cret/@h/f", "http://u: s3cret@h/f"):
        with pytest.raises(ConfigError) as url:
            parse_url(text)
        assert "cret" not in str(url.value)


def test_lifetimes() -> None:
    assert [parse_lifetime(text) for text in ("5m", "0", "-1s")] == [300, 0, 0]


def test_md5_and_filter() -> None:
    md5 = "EBB5F94ED1F3361253F42057DA80384E"
    assert resolved("-m", md5).md5 == md5.lower()
    assert parse_filter("a&b&") == ("a", "b")
    assert parse_header("Accept: a/b, c/d") == "Accept: a/b, c/d"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "file.bin"),
        ("http://h/100?x=1", "100?x=1"),
        ("http://h/dir/", "dir"),
        ("http://h/f#part", "f"),
        ("http://h/f?path=/a/b", "b"),
        ("http://h/a@b", "a@b"),
        ("http://me:s3cret@h:90/", "h:90"),
        ("http://h", "h"),
        ("http://h/#x", "h"),
    ],
)
def test_a_url_suggests_the_name_that_dfget_gives_it(url: str, name: str) -> None:
    assert file_name_of(url) == name


# --- dfget ----------------------------------------------------------------------------------------


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    request = resolved()
    assert request.url == URL
    assert request.target == tmp_path / "file.bin"
    assert request.home == tmp_path / "me" / ".small-dragonfly"
    assert request.nodes == ()
    assert request.pattern is Pattern.P2P
    assert request.back_to_source
    assert (request.local_limit_bytes_per_s, request.total_limit_bytes_per_s) == (0, 0)
    assert (request.timeout_s, request.alive_s, request.expire_s) == (0, 300, 180)


def test_every_flag_arrives(tmp_path: Path) -> None:
    request = resolved(
        *("-o", str(tmp_path / "x"), "-n", "a,b:9", "-n", "c", "-i", "id", "-f", "k&l"),
        *("--header", "A:b, c", "--header", "D:e", "--insecure", "-p", "cdn", "--notbs"),
        *("-s", "2M", "--totallimit", "1024", "-e", "1m30s", "--ip", "127.0.0.2", "--port", "2000"),
        *("--home", str(tmp_path / "h"), "--alivetime", "1m", "--expiretime", "0", "--verbose"),
    )
    assert request.target == tmp_path / "x"
    assert sorted(request.nodes) == [NodeAddress("a"), NodeAddress("b", 9), NodeAddress("c")]
    assert (request.identifier, request.dropped) == ("id", ("k", "l"))
    assert request.headers == ("A:b, c", "D:e")
    assert (request.insecure, request.pattern, request.back_to_source) == (True, Pattern.CDN, False)
    assert request.local_limit_bytes_per_s == 2 << 20
    assert request.total_limit_bytes_per_s == 1024
    assert (request.timeout_s, request.alive_s, request.expire_s) == (90, 60, 0)
    assert (request.ip, request.port, request.home) == ("127.0.0.2", 2000, tmp_path / "h")
    assert request.verbose


def test_a_pattern_that_nobody_knows_is_as_good_as_cdn() -> None:
    assert resolved("-p", "foo").pattern is Pattern.CDN


def test_an_identifier_is_ignored_beside_an_md5() -> None:
    request = resolved("-m", "a" * 32, "-i", "x")
    assert (request.md5, request.identifier) == ("a" * 32, "")


def test_a_local_supernode_is_used_if_there_is_one() -> None:
    local = (NodeAddress("127.0.0.1", 8002),)
    assert resolved(is_there=True).nodes == local
    assert resolved(is_there=False).nodes == ()
    assert resolved("--notbs", is_there=False).nodes == local
    assert resolved("-p", "source", is_there=True).nodes == ()
    assert resolved("-n", "a", is_there=True).nodes == (NodeAddress("a"),)


def test_a_probe_finds_what_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = NodeAddress("127.0.0.1", server.getsockname()[1])
        assert answers(node)
    assert not answers(node)


def test_flag_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "dfget.yml"
    file.write_text(
        "nodes:\n  - 10.0.0.1\n  - 10.0.0.2:9000=2\nlocalLimit: 5M\ntotalLimit: 100\n"
        f"workHome: {tmp_path}/work\nclientQueueSize: 3\n"
    )
    by_file = resolved(file=file)
    two = NodeAddress("10.0.0.2", 9000)
    assert sorted(by_file.nodes) == [NodeAddress("10.0.0.1"), two, two]
    assert by_file.local_limit_bytes_per_s == 5 << 20
    assert by_file.total_limit_bytes_per_s == 100
    assert by_file.home == tmp_path / "work"
    assert by_file.pieces_at_once == 3
    by_flag = resolved(
        *("-n", "a", "-s", "0", "--home", str(tmp_path / "w"), "--clientqueue", "9"), file=file
    )
    assert by_flag.pieces_at_once == 9
    assert by_flag.nodes == (NodeAddress("a"),)
    assert by_flag.local_limit_bytes_per_s == 0
    assert by_flag.home == tmp_path / "w"
    for nothing in ("", "localLimit:\nnodes:\n", "nodes: []"):
        file.write_text(nothing)
        assert resolved(file=file).local_limit_bytes_per_s == 0
        assert resolved(file=file).nodes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node: [a]", "unknown key node: did you mean nodes?"),
        ("zzz: 1", "unknown key zzz: expected one of nodes, localLimit, minRate, totalLimit"),
        ("clientQueueSize: x", "clientQueueSize: 'x': expected a whole number"),
        ("logConfig: {maxsize: 1}", "unknown key logConfig.maxsize: did you mean maxSize?"),
        ("logConfig: 5", "logConfig: expected keys"),
        ("logConfig.maxSize: 5", "unknown key logConfig.maxSize: did you mean logConfig?"),
        ("nodes: a", "nodes: Expected `array`, got `str`"),
        ("nodes: ['http://a']", "nodes: node 'http://a': expected host[:port][=weight]"),
        ("localLimit: 20X", "localLimit: rate '20X'"),
        ("localLimit: yes", "localLimit: Expected"),
        ("- a", "expected keys with values"),
        ("a: [", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
    ],
)
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "dfget.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolved(file=file)
    assert str(file) in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_supernodes_are_named_as_often_as_they_weigh() -> None:
    light, heavy = NodeAddress("light"), NodeAddress("heavy")
    nodes = [WeightedNode(light, 4), WeightedNode(heavy, 8), WeightedNode(heavy, 4)]
    assert sorted(by_weight(nodes), key=str) == [heavy, heavy, heavy, light]
    assert by_weight([]) == ()


# --- dfget server ---------------------------------------------------------------------------------


def test_the_peer_server_works_in_the_home_unless_told_otherwise(tmp_path: Path) -> None:
    flags = DFGET_SERVER.parse(["--ip", "127.0.0.1", "--home", str(tmp_path), "--alivetime", "9s"])
    config = peer_server_config(flags)
    assert config.meta_path == tmp_path / "meta" / "host.meta"
    assert config.policy.data_dir == str(tmp_path / "data")
    assert (config.policy.alive_s, config.policy.expire_s) == (9, 180)
    flags = DFGET_SERVER.parse(["--ip", "::1", "--data", "/d", "--meta", "/m/x", "--port", "7"])
    config = peer_server_config(flags)
    assert (config.ip, config.port) == ("::1", 7)
    assert (config.meta_path, config.policy.data_dir) == (Path("/m/x"), "/d")


def test_the_peer_server_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="--ip"):
        peer_server_config(DFGET_SERVER.parse([]))


# --- supernode ------------------------------------------------------------------------------------


def test_supernode_defaults_and_flags(tmp_path: Path) -> None:
    default = supernode(home=str(tmp_path / "v1" / "sn"))
    assert default.home == tmp_path / "v1" / "sn"
    assert (default.port, default.download_port) == (8002, 8001)
    assert (default.engine, default.bandwidth) == (SupernodeConfig(), Bandwidth())
    flags = ["--home-dir", "/x", "--port", "1", "--download-port", "0", "--record", "/r"]
    told = supernode(*flags, "--advertise-ip", "::1")
    assert (told.home, told.port, told.download_port) == (Path("/x"), 1, 0)
    assert (told.record_dir, told.advertise_ip) == (Path("/r"), "::1")


def test_supernode_flags_of_the_engine() -> None:
    told = supernode(
        *("--cdn-pattern", "source", "--up-limit", "7", "--down-limit", "6"),
        *("--policy", "dragonfly-v1"),
        *("--max-bandwidth", "200MB", "--system-bandwidth", "20MB"),
        *("--fail-access-interval", "1m", "--gc-initial-delay", "0", "--gc-meta-interval", "2s"),
        *("--task-expire-time", "3s", "--peer-gc-delay", "4s"),
    )
    assert told.bandwidth == Bandwidth(0, 200 << 20, 20 << 20)
    assert told.engine == SupernodeConfig(
        cdn_pattern=CdnPattern.SOURCE,
        policy="dragonfly-v1",
        up_slots=7,
        down_slots=6,
        fail_access_s=60,
        gc_initial_delay_s=0,
        gc_meta_interval_s=2,
        task_expire_s=3,
        peer_gc_delay_s=4,
    )


@pytest.mark.parametrize(
    ("flags", "environ", "has_profiles"),
    [
        ((), {}, False),
        (("--profiler",), {}, True),
        (("-D",), {}, True),
        ((), {"SUPERNODE_ENABLE_PROFILER": "true"}, True),
        (("--profiler=false",), {"SUPERNODE_ENABLE_PROFILER": "true"}, False),
    ],
)
def test_profiles_are_for_those_who_ask(
    flags: tuple[str, ...], environ: dict[str, str], has_profiles: bool
) -> None:
    assert supernode(*flags, environ=environ).profiles is has_profiles


def test_the_supernode_falls_back_to_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    settings = supernode(home=str(tmp_path / "file" / "supernode"))
    assert settings.home == tmp_path / ".damselfly" / "supernode"


def test_the_supernode_file(tmp_path: Path) -> None:
    file = tmp_path / "supernode.yml"
    file.write_text(
        "base:\n  listenPort: 9002\n  downloadPort: 9001\n  homeDir: /sn\n  advertiseIP: 10.1.1.1\n"
        "  peerUpLimit: 5\n  peerDownLimit: 4\n  pieceSizePolicy: dragonfly\n"
        "  cdnPattern: source\n  eliminationLimit: 5\n  linkLimit: 20MB\n  maxBandwidth: 200MB\n"
        "  systemReservedBandwidth: 1B\n  gcDiskInterval: 15s\n  youngGCThreshold: 100GB\n"
        "  fullGCThreshold: 5GB\n  IntervalThreshold: 2h0m0s\n  cleanratio: 2\n  debug: true\n"
        "  logConfig: {maxSize: 3, maxBackups: 2, path: /l/x.log}\n"
    )
    settings = supernode("--config", str(file), "--port", "7")
    assert (settings.port, settings.download_port) == (7, 9001)
    assert (settings.home, settings.advertise_ip) == (Path("/sn"), "10.1.1.1")
    assert settings.bandwidth == Bandwidth(20 << 20, 200 << 20, 1)
    assert settings.engine == SupernodeConfig(
        up_slots=5,
        down_slots=4,
        piece_size_policy=PieceSizePolicy.DRAGONFLY,
        cdn_pattern=CdnPattern.SOURCE,
        ban_after=5,
        young_gc_bytes=100 << 30,
        full_gc_bytes=5 << 30,
        clean_ratio=2,
    )
    assert supernode(file=file).port == 9002
    chosen = supernode_choice(SUPERNODE.parse([]), {}, file)
    assert chosen.debug
    assert chosen.log == {"max_mb": 3, "backups": 2, "path": "/l/x.log"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bse: {}", "unknown key bse: did you mean base?"),
        ("base: {listenport: 1}", "unknown key base.listenport: did you mean listenPort?"),
        ("base: {listenPort: 70000}", "base.listenPort: port '70000'"),
        ("base: {listenPort: [1]}", "base.listenPort: Expected"),
        ("base: {policy: rares}", "base.policy: policy is 'rares': expected damselfly"),
        ("base: {peerUpLimit: 0}", "base.peerUpLimit: '0': expected"),
        ("base: {pieceSizePolicy: dragon}", "did you mean dragonfly?"),
        ("base: {cdnPattern: lokal}", "base.cdnPattern: unknown cdn pattern 'lokal': did you"),
        ("base: {youngGCThreshold: 5X}", "base.youngGCThreshold: size '5X': expected"),
        ("base: {debug: 1}", "base.debug: Expected `bool`"),
        ("base: {advertiseIP: here}", "base.advertiseIP: ip 'here'"),
        ("base: {schedulerCorePoolSize: 10}", "base.schedulerCorePoolSize has no effect here"),
        ("base: {enableProfiler: 1}", "base.enableProfiler: Expected `bool`"),
        (
            "base: {maxBandwidth: 200}",
            "base.maxBandwidth: rate '200': that is 200 bytes per second",
        ),
        ("storages: {}", "storages has no effect here: copies are kept in homeDir/repo"),
        ("base: {maxBandwidth: 1B, systemReservedBandwidth: 2B}", "nothing is left"),
        ("base: 5", "base: expected keys"),
    ],
)
def test_a_supernode_file_that_makes_no_sense(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "supernode.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        supernode("--config", str(file))
    assert expected in str(caught.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*no\.yml: No such file"):
        supernode("--config", str(tmp_path / "no.yml"))


# --- where settings come from ---------------------------------------------------------------------


def test_the_environment_stands_between_flag_and_file(tmp_path: Path) -> None:
    file = tmp_path / "dfget.yml"
    file.write_text("nodes: [a]\nlocalLimit: 1\nminRate: 2\ntotalLimit: 3\nworkHome: /w\n")
    environ = {"DFGET_LOCAL_LIMIT": "1M", "DFGET_NODES": "b,c=2", "DFGET_MIN_RATE": ""}
    request = resolved(file=file, environ=environ)
    assert request.local_limit_bytes_per_s == 1 << 20
    assert sorted(request.nodes) == [NodeAddress("b"), NodeAddress("c"), NodeAddress("c")]
    assert (request.min_rate_bytes_per_s, request.total_limit_bytes_per_s) == (2, 3)
    request = resolved("-s", "0", "-n", "d", "--minrate", "7", file=file, environ=environ)
    assert (request.local_limit_bytes_per_s, request.min_rate_bytes_per_s) == (0, 7)
    assert request.nodes == (NodeAddress("d"),)
    environ = {"SUPERNODE_LISTEN_PORT": "5", "SUPERNODE_PEER_GC_DELAY": "9s", "SUPERNODE_DEBUG": ""}
    assert supernode(environ=environ).port == 5
    assert supernode(environ=environ).engine.peer_gc_delay_s == 9
    assert supernode("--port", "6", environ=environ).port == 6
    file.write_text("base: {debug: true}")
    for arguments, is_on in [((), True), (("--debug=false",), False), (("-D",), True)]:
        flags = SUPERNODE.parse(arguments)
        assert supernode_choice(flags, {}, file).debug is is_on


def test_variables_that_are_wrong_are_named_and_others_left_alone() -> None:
    with pytest.raises(ConfigError, match="variable DFGET_LOCAL_LIMIT: rate '20X'"):
        resolved(environ={"DFGET_LOCAL_LIMIT": "20X"})
    with pytest.raises(ConfigError, match="variable SUPERNODE_DEBUG: 'yes': expected true or"):
        supernode(environ={"SUPERNODE_DEBUG": "yes"})
    # What Kubernetes sets in every container beside a service called "supernode".
    environ = {"SUPERNODE_PORT": "tcp://10.0.0.1:8002", "SUPERNODE_SERVICE_PORT": "1"}
    assert supernode(environ=environ).port == 8002


@pytest.mark.parametrize("keys", [DFGET_KEYS, SUPERNODE_KEYS], ids=lambda one: one.program)
def test_every_key_has_a_variable_of_its_own(keys: Any) -> None:
    names = [keys.variable(key) for key in keys.keys]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(DFGET|SUPERNODE)(_[A-Z]+)+", name) for name in names)


def test_the_ini_file_is_the_second_choice(tmp_path: Path) -> None:
    yml, ini = tmp_path / "dfget.yml", tmp_path / "dragonfly.conf"
    ini.write_text("[node]\naddress = 127.0.0.9, 127.0.0.10:8003=2\n")
    flags = DFGET.parse([])
    nodes = [
        WeightedNode(NodeAddress("127.0.0.9")),
        WeightedNode(NodeAddress("127.0.0.10", 8003), 2),
    ]
    assert list(dfget_choice(flags, {}, [yml, ini]).nodes) == nodes
    yml.write_text("localLimit: 1\n")
    assert list(dfget_choice(flags, {}, [yml, ini]).nodes) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("address = a", "is no ini file"),
        ("[node]\nadress = a", "unknown key node.adress: expected address"),
        ("[nodes]\naddress = a", "unknown section nodes: expected node"),
        ("[node]\naddress = a=0", "nodes: node 'a=0': expected host"),
        ("\udcff", "is no ini file"),
    ],
)
def test_an_ini_file_that_makes_no_sense(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "dragonfly.conf"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        resolved(file=file)
    assert f"{file}" in str(caught.value)
    assert expected in str(caught.value)


def test_the_default_files_say_what_holds_without_them(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    file.write_text(default_file(DFGET_KEYS))
    nothing = DFGET.parse([])
    assert dfget_choice(nothing, {}, [file]).log == {"max_mb": 0, "backups": 0, "path": ""}
    with_file, without = resolved(file=file), resolved()
    assert replace(with_file, sign=without.sign) == without
    file.write_text(default_file(SUPERNODE_KEYS))
    assert supernode(file=file) == supernode()
    for key in (*DFGET_KEYS.keys, *SUPERNODE_KEYS.keys):
        text = default_file(DFGET_KEYS if key in DFGET_KEYS.keys else SUPERNODE_KEYS)
        assert re.search(rf"(?m)^ *{key.name.rpartition('.')[2]}:", text)
    assert "# bytes per second for one download, as 20MB; 0: no limit [DFGET_LOCAL_LIMIT]" in (
        default_file(DFGET_KEYS)
    )
