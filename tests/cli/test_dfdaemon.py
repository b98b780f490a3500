"""What dfdaemon is told: flags, variables, files of three versions; and how mistakes end."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from damselfly.cli.config_file import default_file
from damselfly.cli.daemon.keys import DAEMON_KEYS
from damselfly.cli.daemon.options import DFDAEMON
from damselfly.cli.daemon.settings import DaemonChoice, daemon_choice, daemon_settings
from damselfly.cli.dfdaemon import main
from damselfly.cli.logs import LogConfig, lines_to
from damselfly.net.dfdaemon.settings import AuthCheck, Mirror, NamedMirror, ProxyRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from damselfly.cli.daemon.settings import Told
    from damselfly.net.dfdaemon.settings import DaemonSettings

FILE_OF_1_0_6 = """
registry_mirror: {remote: "https://reg.example/prefix", certs: null, insecure: false, direct: true}
proxies:
  - {regx: blobs/sha256.*}
  - {regx: some-registry/, use_https: true}
  - {regx: no-p2p, direct: true}
  - {regx: old, redirect: "new.example:5000"}
hijack_https: null
port: 65009
hostIp: 127.0.0.1
certpem: ""
keypem: ""
verbose: false
maxprocs: 4
dfget_flags: ["--node", "192.168.33.21", "--verbose", "--ip", "192.168.33.23", "--port", "15001",
  "--expiretime", "3m0s", "--alivetime", "6m0s", "-f", "filterParam1&filterParam2"]
supernodes: ["10.0.0.1:8002=2"]
ratelimit: 20MB
workHome: /var/dragonfly
localrepo: /var/data
dfpath: ""
logConfig: {maxSize: 0, maxBackups: 0, path: ""}
localIP: ""
peerPort: 0
streamMode: false
"""


def told(
    *arguments: str, text: str = "", environ: Mapping[str, str] | None = None, folder: Path
) -> Told:
    file = folder / "dfdaemon.yml"
    file.write_text(text)
    flags = DFDAEMON.parse(["--config", str(file), *arguments])
    chosen = daemon_choice(flags, environ or {})
    return daemon_settings(flags, chosen, is_there=lambda _: False)


def settings(*arguments: str, text: str = "", folder: Path, **environ: str) -> DaemonSettings:
    return told(*arguments, text=text, environ=environ, folder=folder).settings


def ended(folder: Path, text: str, *arguments: str) -> int:
    file = folder / "dfdaemon.yml"
    file.write_text(text)
    return main(["--config", str(file), "--workHome", str(folder / "home"), *arguments])


def test_a_file_of_1_0_6(tmp_path: Path) -> None:
    found = told(text=FILE_OF_1_0_6, folder=tmp_path)
    told_to = found.settings
    assert told_to.registry_mirror == Mirror("https://reg.example/prefix", direct=True)
    assert told_to.proxies == (
        ProxyRule("blobs/sha256.*"),
        ProxyRule("some-registry/", use_https=True),
        ProxyRule("no-p2p", direct=True),
        ProxyRule("old", redirect="new.example:5000"),
    )
    assert (told_to.port, told_to.local_repo) == (65009, Path("/var/data"))
    assert told_to.rate_bytes_per_s == 20 << 20
    assert [str(node) for node in told_to.supernodes] == ["10.0.0.1:8002"]
    assert (told_to.local_ip, told_to.peer_port) == ("192.168.33.23", 15001)
    assert told_to.dropped == ("filterParam1", "filterParam2")
    assert found.verbose
    assert [note for note in found.notes if "without dfpath" in note] == [
        "dfget_flags: --alivetime has no effect without dfpath"
    ]


def test_a_file_of_0_4_0(tmp_path: Path) -> None:
    text = "node: [10.0.0.1, '10.0.0.2:8003']\nurlfilter: Signature&Expires\nnotbs: true\n"
    found = told(text=f"{text}callsystem: x\n", folder=tmp_path)
    assert {str(node) for node in found.settings.supernodes} == {"10.0.0.1:8002", "10.0.0.2:8003"}
    assert found.settings.dropped == ("Signature", "Expires")
    assert [note.split()[1] for note in found.notes] == ["node", "urlfilter", "callsystem", "notbs"]


def test_a_file_and_flags_of_0_3_0(tmp_path: Path) -> None:
    text = """
registries:
  - {regx: '^a\\.example$', schema: https, host: 'inner:5000', certs: [/ca.pem]}
  - {regx: '^b\\.example$'}
"""
    flags = "--rule", r"\.rpm$,\.deb$", "--trust-hosts", "c.example"
    found = told(*flags, text=text, folder=tmp_path)
    assert found.settings.mirrors == (
        NamedMirror(Mirror("http://c.example"), "^c\\.example$"),
        NamedMirror(Mirror("https://inner:5000", (Path("/ca.pem"),)), "^a\\.example$"),
        NamedMirror(Mirror("http://b.example"), "^b\\.example$"),
    )
    assert found.settings.proxies == (ProxyRule(r"\.rpm$"), ProxyRule(r"\.deb$"))
    assert all(note.startswith("deprecated: ") for note in found.notes)
    assert len(found.notes) == 3


def test_flag_before_variable_before_file_before_default(tmp_path: Path) -> None:
    text = "ratelimit: 1M\nport: 1001\nauthCheck: off\nworkHome: /file\n"
    variables = {"DFDAEMON_RATELIMIT": "2MB", "DFDAEMON_PORT": "1002", "DFDAEMON_WORKHOME": "/var"}
    found = settings("--port", "1003", text=text, folder=tmp_path, **variables)
    assert (found.port, found.rate_bytes_per_s, found.work_home) == (1003, 2 << 20, Path("/var"))
    assert (found.auth_check, found.host) == (AuthCheck.OFF, "127.0.0.1")
    mirror = "registry_mirror: {remote: 'http://file'}"
    assert settings(text=mirror, folder=tmp_path).registry_mirror.remote == "http://file"
    remote = "--registry", "http://flag"
    assert settings(*remote, text=mirror, folder=tmp_path).registry_mirror.remote == "http://flag"


def test_our_own_keys(tmp_path: Path) -> None:
    text = """
mirrors: [{remote: "https://ghcr.io", path: /v2/ghcr.io/, regx: "^ghcr.io$", direct: true}]
whiteList: [{host: reg.example, ports: [443, 5000]}]
basicAuth: {username: u, password: p}
proxies: [{regx: x, strict: true}]
authCheck: cached
bounds: {connections: 7, cacheSize: 1GB, clientStall: 5s}
registry_mirror: {dynamic: true}
"""
    found = settings(text=text, folder=tmp_path)
    ghcr = Mirror("https://ghcr.io", direct=True)
    assert found.mirrors == (NamedMirror(ghcr, "^ghcr.io$", "/v2/ghcr.io/"),)
    assert (found.whitelist[0].host, found.whitelist[0].ports) == ("reg.example", (443, 5000))
    assert (found.bounds.connections, found.bounds.store_bytes) == (7, 1 << 30)
    assert found.bounds.client_stall_s == 5.0
    assert found.proxies[0].strict
    assert found.dynamic
    assert found.basic_auth is not None
    assert found.basic_auth.password == "p"


def test_the_file_that_config_default_prints_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "default"]) == 0
    printed = capsys.readouterr().out
    assert printed == default_file(DAEMON_KEYS)
    assert settings(text=printed, folder=tmp_path) == settings(folder=tmp_path)
    assert "urlfilter" not in printed
    flags = DFDAEMON.parse([])
    assert daemon_choice(flags, {}, tmp_path / "none") == DaemonChoice()


def test_switches_as_go_reads_them() -> None:
    assert DFDAEMON.parse(["--notbs=true"]).notbs
    assert not DFDAEMON.parse(["--verbose=false"]).verbose


@pytest.mark.parametrize(
    ("text", "arguments", "status", "says"),
    [
        ("", ["--port", "70000"], 14, "port '70000': expected 0 to 65535"),
        ("port: -1", [], 14, "dfdaemon.yml: port: port '-1'"),
        ("", ["--ratelimit", "20X"], 13, "rate '20X'"),
        ("ratelimit: fast", [], 13, "dfdaemon.yml: ratelimit: rate 'fast'"),
        ("", ["--localrepo", "here"], 12, "localrepo 'here': expected an absolute path"),
        ("localrepo: here", [], 12, "localrepo 'here': expected an absolute path"),
        ("", ["--localrepo", "/dev/null/x"], 16, "localrepo /dev/null/x cannot be used"),
        ("", ["--dfpath", "/no/dfget"], 15, "dfpath /no/dfget does not exist"),
        ("", ["--dfpath", "/bin/false"], 17, "'false version' ended with 1"),
        ("", ["--prot", "1"], 1, "unknown flag --prot: did you mean --port?"),
        ("prot: 1", [], 10, "unknown key prot: did you mean port?"),
        ("{", [], 10, "is not valid YAML"),
        (
            "proxies: [{regex: x}]",
            [],
            10,
            "proxies, entry 1: unknown key regex: did you mean regx?",
        ),
        ("proxies: [{direct: true}]", [], 10, "proxies: an entry has no regx"),
        ("proxies: [{regx: '('}]", [], 10, "'(' is no regular expression"),
        ("proxies: {regx: x}", [], 10, "proxies: expected a list of sections"),
        ("registry_mirror: {remote: ftp://x}", [], 10, "registry_mirror.remote 'ftp://x'"),
        ("mirrors: [{regx: x}]", [], 10, "mirrors: an entry has no remote"),
        ("hijack_https: {cert: x}", [], 10, "cert and key go together"),
        ("basicAuth: {username: x}", [], 10, "username and password go together"),
        ("certpem: x", [], 10, "certpem and keypem go together"),
        ("authCheck: on", [], 10, "authCheck"),
        ("registries: [{regx: 'a|b'}]", [], 10, "'a|b' has no host: name the one to ask"),
        ("dfget_flags: [--nod, x]", [], 10, "unknown flag --nod: did you mean --node?"),
        ("{certpem: /no/c, keypem: /no/k, port: 0}", [], 10, "certpem /no/c"),
        ("{registry_mirror: {certs: [/no/ca]}, port: 0}", [], 10, "/no/ca"),
    ],
)
def test_mistakes_end_with_a_line_and_a_status(
    text: str,
    arguments: list[str],
    status: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(tmp_path, text, *arguments) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dfdaemon: ")
    assert says in line


def test_a_file_that_is_named_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "/no/file.yml"]) == 10
    assert "cannot read /no/file.yml" in capsys.readouterr().err


def test_a_variable_is_named_in_the_complaint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFDAEMON_RATELIMIT", "quick")
    assert ended(tmp_path, "") == 13
    assert "environment variable DFDAEMON_RATELIMIT: rate 'quick'" in capsys.readouterr().err


def test_a_user_without_a_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("nobody knows")

    file = tmp_path / "dfdaemon.yml"
    file.write_text("")
    monkeypatch.setattr(Path, "home", nowhere)
    assert main(["--config", str(file)]) == 11
    assert "name one with --workHome" in capsys.readouterr().err


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert ended(tmp_path, "", "--port", str(port)) == 1
    line = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}: " in line


@pytest.mark.parametrize("words", [["version"], ["-v"], ["--version"]])
def test_it_says_which_it_is(words: list[str], capsys: pytest.CaptureFixture[Any]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("dfdaemon version")


def test_the_example_for_operators_is_right(tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "cli" / "README.md"
    _, mark, rest = readme.read_text().partition("# /etc/dragonfly/dfdaemon.yml")
    found = told(text=mark + rest.partition("```")[0], folder=tmp_path)
    assert len(found.settings.proxies) == 3
    assert found.settings.hijack_https is not None
    assert found.notes == ()


def test_the_access_log_lies_beside_the_log_or_goes_where_a_device_takes_it(
    tmp_path: Path,
) -> None:
    logger, log = logging.getLogger("damselfly.access"), tmp_path / "logs" / "dfdaemon.log"
    with lines_to(logger, "access.log", log, LogConfig()):
        logger.info("one")
    assert (tmp_path / "logs" / "access.log").read_text() == "one\n"
    elsewhere = LogConfig(path=str(tmp_path / "there" / "my.log"))
    with lines_to(logger, "access.log", log, elsewhere):
        logger.info("two")
    assert (tmp_path / "there" / "access.log").read_text() == "two\n"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with lines_to(logger, "access.log", log, LogConfig(path=str(fifo))):
        logger.info("three")
        assert os.read(reader, 100) == b"three\n"
    os.close(reader)
    assert not (tmp_path / "access.log").exists()
