"""Images made from nothing: an OCI layout with layers of random bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OCI: Final = "application/vnd.oci.image."


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a folder: what it weighs, and by which digests its parts go.

    ``layers`` and ``config`` are digests as ``sha256:HEX``, ``content`` has the bytes by digest.
    """

    layout: Path
    manifest: str
    config: str
    layers: tuple[str, ...]
    content: dict[str, bytes]


def make_image(layout: Path, layer_bytes: Sequence[int], seed: int = 1) -> Image:
    """Write an image whose layers have about these sizes, the same for the same ``seed``."""
    rng, content = Random(seed), dict[str, bytes]()
    layers = [_layer(rng.randbytes(count), f"file{i}") for i, count in enumerate(layer_bytes)]
    packed = [gzip.compress(tar, 1, mtime=0) for tar in layers]
    described = [_keep(content, data, "layer.v1.tar+gzip") for data in packed]
    diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in layers]
    about = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    config = _keep(content, json.dumps(about).encode(), "config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}manifest.v1+json",
        "config": config,
        "layers": described,
    }
    top = _keep(content, json.dumps(manifest).encode(), "manifest.v1+json")
    _write(layout, content, top)
    digests = tuple([str(one["digest"]) for one in described])
    return Image(layout, top["digest"], config["digest"], digests, content)


def _layer(data: bytes, name: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _keep(content: dict[str, bytes], data: bytes, kind: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    content[digest] = data
    return {"mediaType": _OCI + kind, "digest": digest, "size": len(data)}


def _write(layout: Path, content: dict[str, bytes], top: dict[str, Any]) -> None:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, data in content.items():
        (blobs / digest.partition(":")[2]).write_bytes(data)
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
