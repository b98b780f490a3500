"""What an image is made of: Docker's and OCI's manifests, read by their shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from ...engine.errors import RemoteProtocolError
from ...engine.records import dataclass
from ...engine.wire.fields import json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
)
"""What we ask registries for."""
MAX_ITEMS: Final = 1024

_URL: Final = re.compile(r"(https?://[^/?#]+/v2/([^?#]+))/manifests/[^/?#]+(?:\?[^#]*)?")
_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,128}")
_ELSEWHERE: Final = ("foreign", "nondistributable")


class ManifestError(RemoteProtocolError):
    """A URL or a body that is no image's."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Where the parts of one image lie: ``base`` is ``https://host/v2/<name>``."""

    base: str
    name: str

    def blob(self, digest: str) -> str:
        """Return the URL of a layer."""
        return f"{self.base}/blobs/{digest}"

    def manifest(self, digest: str) -> str:
        """Return the URL of another manifest."""
        return f"{self.base}/manifests/{digest}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one manifest names: layers of its own, or manifests of other platforms."""

    layers: tuple[str, ...]
    manifests: tuple[str, ...]


def repository_of(url: str) -> Repository:
    """Return the repository of ``<scheme>://<host>/v2/<name>/manifests/<reference>``."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ManifestError("expected http(s)://<host>/v2/<name>/manifests/<reference>")
    return Repository(found[1], found[2])


def parse_manifest(body: bytes) -> Manifest:
    """Return what the manifest in ``body`` names, each digest once.

    Schema 1 has ``fsLayers``, schema 2 and OCI have ``layers``, a list or index has ``manifests``.
    Layers that lie outside the registry are left out.  Raises ``ManifestError``.
    """
    found = json_object(body, "manifest", ManifestError)
    if "manifests" in found:
        return Manifest((), _digests(found["manifests"], "digest"))
    if "fslayers" in found:
        return Manifest(_digests(found["fslayers"], "blobSum"), ())
    if "layers" in found:
        return Manifest(_digests(found["layers"], "digest"), ())
    raise ManifestError("not a manifest: it has neither layers nor fsLayers nor manifests")


def _digests(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ManifestError(f"manifest: the list of {key} is no list")
    items = cast("list[object]", value)
    if len(items) > MAX_ITEMS:
        raise ManifestError(f"manifest: {len(items)} items, expected at most {MAX_ITEMS}")
    found: dict[str, None] = {}
    for item in items:
        if not isinstance(item, dict):
            raise ManifestError(f"manifest: an item of the list of {key} is no object")
        fields = cast("Mapping[str, object]", item)
        if any(mark in str(fields.get("mediaType", "")) for mark in _ELSEWHERE):
            continue
        digest = fields.get(key)
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ManifestError(f"manifest: {key} {str(digest)[:80]!r} is no digest")
        found[digest] = None
    return tuple(found)
