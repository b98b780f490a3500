"""The clients and the registry without a daemon: what the other tests build on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .authority import Authority
from .clients import needs
from .image import make_image
from .registry import PASSWORD, USER, Registry
from .skopeo import CREDENTIALS, Skopeo, assert_same_image
from .tokens import TokenService

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs("docker-registry", "skopeo")


def test_an_image_goes_in_and_comes_out(tmp_path: Path) -> None:
    image, skopeo = make_image(tmp_path / "image", (40_000, 50_000)), Skopeo(tmp_path / "s")
    with Registry(tmp_path / "registry") as registry:
        place = skopeo.push(image, registry)
        pulled = skopeo.pull(place, "out", "--src-tls-verify=false")
        assert_same_image(pulled, image)
        assert {call.uri.rpartition("/")[2] for call in registry.blob_reads()} == {
            *image.layers,
            image.config,
        }


def test_passwords_are_asked_for(tmp_path: Path) -> None:
    image, skopeo = make_image(tmp_path / "image", (40_000,)), Skopeo(tmp_path / "s")
    with Registry(tmp_path / "registry", passwords=True) as registry:
        place = skopeo.push(image, registry)
        assert "unauthorized" in skopeo.try_pull(place, "no", "--src-tls-verify=false").stdout
        flags = "--src-tls-verify=false", "--src-creds", CREDENTIALS
        assert_same_image(skopeo.pull(place, "out", *flags), image)


def test_tokens_are_asked_for(tmp_path: Path) -> None:
    image, skopeo = make_image(tmp_path / "image", (40_000,)), Skopeo(tmp_path / "s")
    certified = Authority(tmp_path / "ca").certify("tokens")
    with (
        TokenService(certified, USER, PASSWORD) as tokens,
        Registry(tmp_path / "registry", tokens=tokens) as registry,
    ):
        place = skopeo.push(image, registry)
        assert "unauthorized" in skopeo.try_pull(place, "no", "--src-tls-verify=false").stdout
        flags = "--src-tls-verify=false", "--src-creds", CREDENTIALS
        assert_same_image(skopeo.pull(place, "out", *flags), image)


def test_a_private_authority_must_be_trusted(tmp_path: Path) -> None:
    image, skopeo = make_image(tmp_path / "image", (40_000,)), Skopeo(tmp_path / "s")
    certified = Authority(tmp_path / "ca").certify("127.0.0.1")
    with Registry(tmp_path / "registry", certified=certified) as registry:
        place = skopeo.push(image, registry)
        assert "unknown authority" in skopeo.try_pull(place, "no").stdout
        trust = {"SSL_CERT_FILE": str(certified.authority)}
        assert_same_image(skopeo.pull(place, "out", **trust), image)
