"""skopeo pulls images through the daemon: as a mirror, as a proxy, intercepted."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from damselfly.cli.dfdaemon import main

from .authority import Authority
from .clients import needs
from .daemon import Daemon
from .image import make_image
from .registry import PASSWORD, USER, Registry
from .skopeo import CREDENTIALS, Skopeo, assert_same_image
from .tokens import TokenService

if TYPE_CHECKING:
    from pathlib import Path

    from .daemon import Supernode
    from .image import Image

pytestmark = needs("docker-registry", "skopeo")


@pytest.fixture
def named_host() -> str:
    """A name of this host: Go programs use no proxy for loopback addresses, but for names."""
    name = socket.gethostname().lower()
    try:
        socket.gethostbyname(name)
    except OSError:
        pytest.skip(f"missing: an address of this host's name, {name} (in /etc/hosts)")
    return name


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_image(tmp_path_factory.mktemp("image") / "layout", (3_000_000, 1_500_000))


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    return Skopeo(tmp_path / "skopeo")


def test_the_second_host_takes_no_byte_of_a_blob_from_the_registry(
    tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo
) -> None:
    with Registry(tmp_path / "registry") as registry:
        place = skopeo.push(image, registry)
        config = {"registry_mirror": {"remote": registry.url}}
        with (
            Daemon(tmp_path / "a", config, node=supernode.node) as first,
            Daemon(tmp_path / "b", config, node=supernode.node) as second,
        ):
            one = Skopeo(tmp_path / "one", mirrors={registry.address: first.address})
            assert_same_image(one.pull(place, "out"), image)
            reads = registry.blob_reads()
            other = Skopeo(tmp_path / "other", mirrors={registry.address: second.address})
            assert_same_image(other.pull(place, "out"), image)
            assert registry.blob_reads() == reads
            sources = {line.source for line in [*first.blobs(), *second.blobs()]}
            assert sources == {"p2p"}


@pytest.mark.parametrize("kind", ["passwords", "tokens"])
def test_who_may_not_is_told_so_by_the_registry(
    kind: str, tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo
) -> None:
    certified = Authority(tmp_path / "ca").certify("tokens")
    with (
        TokenService(certified, USER, PASSWORD) as tokens,
        Registry(
            tmp_path / "registry",
            passwords=kind == "passwords",
            tokens=tokens if kind == "tokens" else None,
        ) as registry,
    ):
        skopeo.push(image, registry)
        config = {"registry_mirror": {"remote": registry.url}}
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            place, plain = f"{daemon.address}/library/image:1", "--src-tls-verify=false"
            creds = "--src-creds", CREDENTIALS
            assert_same_image(skopeo.pull(place, "cold", plain, *creds), image)
            assert_same_image(skopeo.pull(place, "warm", plain, *creds), image)
            assert {line.source for line in daemon.blobs()} == {"p2p", "cache"}
            wrong = skopeo.try_pull(place, "wrong", plain, "--src-creds", f"{USER}:wrong")
            nobody = skopeo.try_pull(place, "nobody", plain)
            assert "unauthorized" in wrong.stdout.lower()
            assert "unauthorized" in nobody.stdout.lower()
        logs = "".join([log.read_text() for log in (tmp_path / "d" / "logs").iterdir()])
        assert "Bearer" not in logs
        assert PASSWORD not in logs


def test_a_registry_under_a_private_authority(
    tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo
) -> None:
    certified = Authority(tmp_path / "ca").certify("127.0.0.1")
    with Registry(tmp_path / "registry", certified=certified) as registry:
        skopeo.push(image, registry)
        mirror = {"remote": registry.url, "certs": [str(certified.authority)]}
        with Daemon(tmp_path / "d", {"registry_mirror": mirror}, node=supernode.node) as daemon:
            place = f"{daemon.address}/library/image:1"
            assert_same_image(skopeo.pull(place, "out", "--src-tls-verify=false"), image)
            assert {line.source for line in daemon.blobs()} == {"p2p"}


def test_as_a_proxy(
    tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo, named_host: str
) -> None:
    with Registry(tmp_path / "registry", host=named_host) as registry:
        place = skopeo.push(image, registry)
        config = {"proxies": [{"regx": "blobs/sha256.*"}]}
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            flags = "--src-tls-verify=false"
            assert_same_image(skopeo.pull(place, "out", flags, HTTP_PROXY=daemon.url), image)
            assert {line.source for line in daemon.blobs()} == {"p2p"}
            assert {line.entry for line in daemon.blobs()} == {"proxy"}
            assert len(daemon.blobs()) == len(image.layers) + 1


def test_as_a_proxy_that_intercepts(
    tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo, named_host: str
) -> None:
    ca, key, trusted = tmp_path / "df.crt", tmp_path / "df.key", tmp_path / "trusted"
    assert main(["gen-ca", "--cert-output", str(ca), "--key-output", str(key)]) == 0
    trusted.mkdir()
    (trusted / "df.crt").write_bytes(ca.read_bytes())
    certified = Authority(tmp_path / "ca").certify(named_host)
    with Registry(tmp_path / "registry", host=named_host, certified=certified) as registry:
        place = skopeo.push(image, registry)
        hosts = [{"regx": f"^{named_host}:", "certs": [str(certified.authority)]}]
        config = {
            "hijack_https": {"cert": str(ca), "key": str(key), "hosts": hosts},
            "proxies": [{"regx": "blobs/sha256.*"}],
        }
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            trust = "--src-cert-dir", str(trusted)
            pulled = skopeo.pull(place, "out", *trust, HTTPS_PROXY=daemon.url)
            assert_same_image(pulled, image)
            assert {line.source for line in daemon.blobs()} == {"p2p"}
            assert {line.entry for line in daemon.access()} == {"intercepted"}


def test_what_init_writes_makes_it_work(
    tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo
) -> None:
    with Registry(tmp_path / "registry") as registry:
        skopeo.push(image, registry)
        config = {"registry_mirror": {"remote": registry.url}}
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            file = tmp_path / "dfdaemon.yml"
            port = int(daemon.address.partition(":")[2])
            # Under this name it can only come from the daemon.
            mirror = {"remote": "https://reg.invalid"}
            file.write_text(json.dumps({"port": port, "registry_mirror": mirror}))
            words = "--config", str(file), "--root", str(tmp_path), "--write"
            assert main(["init", "podman", *words]) == 0
            written = tmp_path / "etc/containers/registries.conf.d/50-dfdaemon.conf"
            configured = Skopeo(tmp_path / "configured", settings=written.read_text())
            assert_same_image(configured.pull("reg.invalid/library/image:1", "out"), image)
            assert {line.source for line in daemon.blobs()} == {"p2p"}


def test_through_a_blind_tunnel(
    tmp_path: Path, image: Image, supernode: Supernode, skopeo: Skopeo, named_host: str
) -> None:
    certified = Authority(tmp_path / "ca").certify(named_host)
    with Registry(tmp_path / "registry", host=named_host, certified=certified) as registry:
        place = skopeo.push(image, registry)
        with Daemon(tmp_path / "d", node=supernode.node) as daemon:
            trust = {"SSL_CERT_FILE": str(certified.authority)}
            pulled = skopeo.pull(place, "out", HTTPS_PROXY=daemon.url, **trust)
            assert_same_image(pulled, image)
            assert {line.entry for line in daemon.access()} == {"tunnel"}
