"""Other programs as clients: buildah, curl, pip."""

from __future__ import annotations

import io
import json
import random
import sys
import zipfile
from typing import TYPE_CHECKING, Final

import pytest

from ..origin_server import OriginServer
from .asking import blob_path
from .clients import needs
from .daemon import Daemon
from .image import make_image
from .registry import Registry
from .skopeo import Skopeo, run

if TYPE_CHECKING:
    from pathlib import Path

    from .daemon import Supernode

DATA: Final = random.Random(23).randbytes(2_500_000)


@needs("docker-registry", "skopeo", "buildah")
def test_buildah_pulls_by_the_daemons_name(tmp_path: Path, supernode: Supernode) -> None:
    image, skopeo = make_image(tmp_path / "image", (400_000, 300_000)), Skopeo(tmp_path / "s")
    with Registry(tmp_path / "registry") as registry:
        skopeo.push(image, registry)
        config = {"registry_mirror": {"remote": registry.url}}
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            place = f"{daemon.address}/library/image:1"
            storage = "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")
            buildah = "buildah", "--storage-driver", "vfs", *storage
            pulled = run(*buildah, "pull", "--tls-verify=false", place, home=tmp_path)
            if "operation not permitted" in pulled.stdout.lower():
                pytest.skip(f"buildah may not unpack layers here: {pulled.stdout.splitlines()[-1]}")
            assert pulled.returncode == 0, pulled.stdout
            images = json.loads(run(*buildah, "images", "--json", home=tmp_path).stdout)
            (one,) = images
            assert image.config.startswith(f"sha256:{one['id']}")
            assert {line.source for line in daemon.blobs()} == {"p2p"}


@needs("curl")
def test_curl_asks_for_ranges_and_goes_on_where_it_was(
    tmp_path: Path, supernode: Supernode
) -> None:
    with OriginServer() as origin:
        path = blob_path(DATA)
        origin.put(path, DATA)
        config = {"registry_mirror": {"remote": origin.url("")}}
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            url, out = daemon.url + path, tmp_path / "out"
            curl = "curl", "--silent", "--show-error", "--fail", "--output", str(out)
            for wanted, expected in (("5-9", DATA[5:10]), ("2400000-", DATA[2_400_000:])):
                done = run(*curl, "--range", wanted, url, home=tmp_path)
                assert (done.returncode, out.read_bytes()) == (0, expected), done.stdout
            out.write_bytes(DATA[:1_000_001])
            done = run(*curl, "--continue-at", "-", url, home=tmp_path)
            assert (done.returncode, out.read_bytes()) == (0, DATA), done.stdout
            run(*curl, "--range", "0-1,10-11", "--dump-header", "-", url, home=tmp_path)
            assert out.read_bytes().count(b"Content-Range: bytes ") == 2
        assert origin.bytes_sent(path) <= len(DATA)


def test_pip_through_the_proxy(tmp_path: Path, supernode: Supernode) -> None:
    name, wheel = "demo-1.0-py3-none-any.whl", _wheel()
    with OriginServer() as origin:
        origin.put(f"/files/{name}", wheel)
        config = {"proxies": [{"regx": r"\.(whl|tar\.gz)(\?.*)?$"}]}
        with Daemon(tmp_path / "d", config, node=supernode.node) as daemon:
            options = "--no-cache-dir", "--no-deps", "--disable-pip-version-check"
            pip = sys.executable, "-m", "pip", "--isolated", "download", *options
            proxy = "--proxy", daemon.url, "--dest", str(tmp_path / "out")
            done = run(*pip, *proxy, origin.url(f"/files/{name}"), home=tmp_path)
            assert done.returncode == 0, done.stdout
            assert (tmp_path / "out" / name).read_bytes() == wheel
            assert {(line.entry, line.source) for line in daemon.access()} == {("proxy", "p2p")}


def _wheel() -> bytes:
    made = io.BytesIO()
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("demo/data.bin", DATA)
        for file, text in about.items():
            archive.writestr(f"demo-1.0.dist-info/{file}", text)
    return made.getvalue()
