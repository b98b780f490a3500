"""``dfdaemon gen-ca`` and ``dfdaemon init``: what they leave in files of others."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from damselfly.cli.dfdaemon import main

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:65001"
MIRRORS = """
registry_mirror: {remote: 'https://index.docker.io'}
mirrors: [{remote: 'https://ghcr.io', path: /v2/ghcr.io/}, {remote: 'https://quay.io', regx: quay}]
"""


# --- gen-ca ---------------------------------------------------------------------------------------


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """The certificate of a CA; its key is beside it."""
    assert main(["gen-ca", *_outputs(tmp_path), "--common-name", "our ca"]) == 0
    return tmp_path / "ca.crt"


def _outputs(folder: Path) -> list[str]:
    return ["--cert-output", str(folder / "ca.crt"), "--key-output", str(folder / "ca.key")]


def test_a_ca_in_the_files_of_1_0_6(ca: Path) -> None:
    key_path = ca.with_name("ca.key")
    assert key_path.stat().st_mode & 0o777 == 0o600
    assert ca.stat().st_mode & 0o777 == 0o644
    assert key_path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    key = load_pem_private_key(key_path.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(ca.read_bytes())
    assert isinstance(key, rsa.RSAPrivateKey)
    assert (key.key_size, certificate.public_key()) == (2048, key.public_key())
    assert certificate.subject.rfc4514_string() == "CN=our ca,O=dragonfly"
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.digital_signature
    assert usage.key_encipherment


def test_a_ca_is_not_replaced_by_accident(
    ca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ca.read_bytes()
    ca.with_name("ca.key").unlink()
    assert main(["gen-ca", *_outputs(tmp_path)]) == 1
    assert f"{ca} exists" in capsys.readouterr().err
    assert ca.read_bytes() == before
    assert not ca.with_name("ca.key").exists()
    assert main(["gen-ca", *_outputs(tmp_path), "--overwrite"]) == 0
    assert ca.read_bytes() != before


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--cert-output", "/no/where/ca.crt"], "cannot write /no/where/ca.crt"),
        (["--common-name", "x" * 65], "--common-name"),
        (["--expire-duration", "99999999h"], "--expire-duration"),
    ],
)
def test_a_ca_that_cannot_be(
    flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gen-ca", *_outputs(tmp_path), *flags]) == 1
    assert says in capsys.readouterr().err


# --- init -----------------------------------------------------------------------------------------


class Host:
    """A file system to configure, and the daemon's own file."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = folder / "root", capsys
        self.root.mkdir()
        self._config = folder / "dfdaemon.yml"
        self.says(MIRRORS)

    def says(self, text: str) -> None:
        """Set what the daemon is told."""
        self._config.write_text(text)

    def put(self, path: str, text: str) -> None:
        """Write a file that is there before."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def text(self, path: str) -> str:
        """Read a file."""
        return (self.root / path).read_text()

    def toml(self, path: str) -> dict[str, Any]:
        """Read a file."""
        return tomllib.loads(self.text(path))

    def init(self, *words: str, status: int = 0) -> str:
        """Run ``dfdaemon init``; return what it printed."""
        flags = ["--root", str(self.root), "--config", str(self._config)]
        assert main(["init", *words, *flags]) == status
        said = self._capsys.readouterr()
        return said.err if status else said.out


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capsys)


def test_docker_keeps_its_other_settings(host: Host) -> None:
    before = '{"log-level": "warn", "registry-mirrors": ["https://other.example"]}'
    host.put("etc/docker/daemon.json", before)
    said = host.init("docker", "--write")
    settings = json.loads(host.text("etc/docker/daemon.json"))
    assert settings == {
        "log-level": "warn",
        "registry-mirrors": [URL, "https://other.example"],
    }
    assert host.text("etc/docker/daemon.json.before-dfdaemon") == before
    assert "then: systemctl reload docker" in said
    assert "docker does not tell a mirror that it means ghcr.io: use --mode proxy" in said


@pytest.mark.parametrize("engine", ["docker", "containerd", "podman", "crio"])
@pytest.mark.parametrize("mode", ["mirror", "proxy"])
def test_doing_it_twice_changes_nothing(host: Host, ca: Path, engine: str, mode: str) -> None:
    hosts = "[{regx: '^ghcr\\.io:443$'}]"
    host.says(f"{MIRRORS}\nhijack_https: {{cert: {ca}, key: {ca}, hosts: {hosts}}}")
    words = engine, "--mode", mode
    printed = host.init(*words)
    assert not list(host.root.iterdir()), "without --write nothing is written"
    assert "wrote " in host.init(*words, "--write")
    files = {path: path.read_text() for path in host.root.rglob("*") if path.is_file()}
    for path, text in files.items():
        assert f"# /{path.relative_to(host.root)}\n{text}" in printed
    again = host.init(*words, "--write")
    assert "wrote " not in again
    assert {path: path.read_text() for path in host.root.rglob("*") if path.is_file()} == files


def test_docker_settings_that_are_broken_stay_as_they_are(host: Host) -> None:
    host.put("etc/docker/daemon.json", "{broken")
    assert "is not valid JSON" in host.init("docker", "--write", status=1)
    assert host.text("etc/docker/daemon.json") == "{broken"


def test_containerd_asks_the_daemon_first(host: Host) -> None:
    host.put(
        "etc/containerd/config.toml",
        '# ours\nversion = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "pause"\n',
    )
    host.put(
        "etc/containerd/certs.d/ghcr.io/hosts.toml",
        'server = "https://inner.example"\n[host."https://near.example"]\nskip_verify = true\n',
    )
    said = host.init("containerd", "--write")
    config = host.text("etc/containerd/config.toml")
    assert config.startswith("# ours\n")
    plugin = tomllib.loads(config)["plugins"]["io.containerd.grpc.v1.cri"]
    assert plugin["sandbox_image"] == "pause"
    assert plugin["registry"]["config_path"] == "/etc/containerd/certs.d"
    ghcr = host.toml("etc/containerd/certs.d/ghcr.io/hosts.toml")
    assert ghcr["server"] == "https://inner.example"
    assert list(ghcr["host"]) == [URL, "https://near.example"]
    assert ghcr["host"][URL] == {"capabilities": ["pull", "resolve"]}
    assert ghcr["host"]["https://near.example"] == {"skip_verify": True}
    hub = host.toml("etc/containerd/certs.d/docker.io/hosts.toml")
    assert hub["server"] == "https://registry-1.docker.io"
    default = host.toml("etc/containerd/certs.d/_default/hosts.toml")
    assert default == {"host": {URL: {"capabilities": ["pull", "resolve"]}}}
    assert "then: systemctl restart containerd" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = 1\n", "of version 1: expected version = 2 or version = 3"),
        (
            'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors.x]\nendpoint=[]\n',
            "has registry.mirrors, which excludes /etc/containerd/certs.d",
        ),
        ("version = ", "is not valid TOML"),
    ],
)
def test_containerd_settings_that_do_not_fit(host: Host, text: str, says: str) -> None:
    host.put("etc/containerd/config.toml", text)
    assert says in host.init("containerd", "--write", status=1)
    assert host.text("etc/containerd/config.toml") == text


def test_containerd_has_a_folder_already(host: Host) -> None:
    text = (
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n"
        "config_path = '/etc/certs.d:/other'\n"
    )
    host.put("etc/containerd/config.toml", text)
    said = host.init("containerd", "--write", "--registry", "reg.example:5000")
    assert "then:" not in said
    assert host.text("etc/containerd/config.toml") == text
    found = host.toml("etc/certs.d/reg.example:5000/hosts.toml")
    assert found["server"] == "https://reg.example:5000"


def test_podman_keeps_other_mirrors_behind_the_daemon(host: Host) -> None:
    host.put(
        "etc/containers/registries.conf",
        'unqualified-search-registries = ["docker.io"]\n'
        '[[registry]]\nlocation = "docker.io"\nblocked = false\n'
        '[[registry.mirror]]\nlocation = "near.example"\n',
    )
    before = host.text("etc/containers/registries.conf")
    said = host.init("podman", "--write")
    assert "podman does not tell a mirror that it means ghcr.io" in said
    assert host.text("etc/containers/registries.conf") == before
    found = host.toml("etc/containers/registries.conf.d/50-dfdaemon.conf")
    assert found["registry"] == [
        {
            "location": "docker.io",
            "blocked": False,
            "mirror": [
                {"location": "127.0.0.1:65001", "insecure": True},
                {"location": "near.example"},
            ],
        }
    ]


def test_a_proxy_and_its_authority(host: Host, ca: Path) -> None:
    host.says(f"hijack_https: {{cert: {ca}, key: {ca}, hosts: [{{regx: '.*'}}]}}")
    host.put("etc/containers/containers.conf.d/10.conf", '[engine]\nenv = ["A=b", "NO_PROXY=x"]\n')
    words = "--mode", "proxy", "--write", "--registry", "reg.example:5000"
    assert "name them with --registry" in host.init("podman", *words[:3], status=1)
    host.init("podman", *words)
    found = host.toml("etc/containers/containers.conf.d/50-dfdaemon.conf")
    proxies = [f"HTTP_PROXY={URL}", f"HTTPS_PROXY={URL}", "NO_PROXY=localhost,127.0.0.1,::1"]
    assert found["engine"]["env"] == [*proxies, "A=b"]
    said = host.init("docker", *words)
    assert f'Environment="HTTPS_PROXY={URL}"' in host.text(
        "etc/systemd/system/docker.service.d/dfdaemon.conf"
    )
    for folder in ("containers", "docker"):
        path = f"etc/{folder}/certs.d/reg.example:5000/dfdaemon.crt"
        assert host.text(path) == ca.read_text()
    assert "then: systemctl daemon-reload\nthen: systemctl restart docker" in said
    host.init("containerd", *words)
    hosts = host.toml("etc/containerd/certs.d/reg.example:5000/hosts.toml")
    assert hosts["ca"] == ["/etc/containerd/certs.d/reg.example:5000/dfdaemon.crt"]


def test_a_proxy_needs_an_authority(host: Host) -> None:
    assert "make one with dfdaemon gen-ca" in host.init("docker", "--mode", "proxy", status=1)
    assert "unknown mode 'both'" in host.init("docker", "--mode", "both", status=1)
