"""All that the download and supernode engines can ask for.

Each effect's outcome comes back as an event, or is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from .ids import ExchangeId, FetchId, NodeAddress, PeerId, PieceIndex, TaskId
    from .messages import PieceOffer, Reply, Request
    from .outcomes import FailCode, Milestone
    from .piece import Digest, PieceSizePolicy


class ReadOrigin(Struct, frozen=True):
    """Read bytes ``first_byte`` to ``last_byte`` (``None``: the end) of ``url``, cut into pieces.

    ``first_byte`` is the start of a piece. ``piece_size`` is a wrapped size, or the policy that
    finds one once the length is known, for ``few_hosts`` unless ``ExpectMany`` has followed. A
    ``validator`` makes the read conditional: if the origin's content has another one, the read
    fails as CHANGED. ``headers`` are ``k:v`` lines, ``root_cas`` PEM certificates in base64 that
    this read trusts beside the usual ones. ``md5`` is that of the content, if whoever wants it
    said so: then no origin needs to be asked whether a copy is still right.
    Comes back as ``OriginOpened``, an ``OriginPieceStored`` each piece, then ``OriginEnded``; or
    ``OriginFailed`` at any point.
    """

    fetch: FetchId
    task: TaskId
    url: str
    headers: tuple[str, ...]
    piece_size: int | PieceSizePolicy
    first_byte: int = 0
    last_byte: int | None = None
    validator: str = ""
    wants_md5: bool = False
    insecure: bool = False
    root_cas: tuple[str, ...] = ()
    plain: bool = False
    md5: str = ""
    few_hosts: bool = False


class CancelFetch(Struct, frozen=True):
    """Give up a ``FetchPiece``, or a read, probe or check of an origin; no event comes back."""

    fetch: FetchId


# --- a download -----------------------------------------------------------------------------------


class Send(Struct, frozen=True):
    """Put ``request`` to the supernode at ``node``; no bytes for ``timeout_s``: it failed."""

    exchange: ExchangeId
    node: NodeAddress
    request: Request
    timeout_s: float


class LayOut(Struct, frozen=True):
    """Make room for a file; ``keep``: pieces already on disk fit this layout and stay.

    ``length`` -1: unknown.  ``plain``: its pieces are not wrapped.  No event comes back; a disk
    that refuses shows when pieces come.
    """

    task: TaskId
    length: int
    piece_size: int
    validator: str
    keep: bool
    plain: bool = False


class FetchPiece(Struct, frozen=True):
    """Get one piece from the parent in ``offer`` onto the disk, and hash it on the way.

    ``size`` is the content length to expect, -1 unknown.  ``plain``: the piece is not wrapped; if
    the path of its offer is a URL, it is that part of the URL's content.  Comes back as
    ``PieceFetched`` or ``PieceFailed``.
    """

    fetch: FetchId
    offer: PieceOffer
    size: int
    stall_timeout_s: float
    plain: bool = False


class KeepPiece(Struct, frozen=True):
    """The piece on disk is right: remember that across crashes, and serve it."""

    piece: PieceIndex
    size: int
    digest: Digest


class DropPiece(Struct, frozen=True):
    """A piece thought right is not: serve it no longer."""

    piece: PieceIndex


class Publish(Struct, frozen=True):
    """Verify the whole file and put it under the user's name; ``md5`` empty: pieces suffice.

    Comes back as ``Published`` or ``PublishFailed``.
    """

    length: int
    md5: str


class Tell(Struct, frozen=True):
    """Say something to whoever watches."""

    milestone: Milestone
    text: str


class Finish(Struct, frozen=True):
    """The download is over; the last effect of the engine.

    ``reason`` is 0, a ``BackSourceReason``, or one plus 1000 where going back was forbidden.
    """

    code: FailCode
    reason: int
    message: str
    length: int


DownloadEffect: TypeAlias = (
    Send
    | LayOut
    | FetchPiece
    | KeepPiece
    | DropPiece
    | ReadOrigin
    | CancelFetch
    | Publish
    | Tell
    | Finish
)


# --- a supernode ----------------------------------------------------------------------------------


class Answer(Struct, frozen=True, gc=False):
    """Reply to an exchange."""

    exchange: ExchangeId
    reply: Reply


class ExpectMany(Struct, frozen=True):
    """More than a few hosts will want what ``read`` brings: matters as long as it has no head.

    No event comes back.
    """

    read: FetchId


class ProbeOrigin(Struct, frozen=True):
    """Ask an origin for its first byte, to learn its length and whether it honours ranges.

    Comes back as ``OriginOpened`` or ``OriginFailed``.
    """

    fetch: FetchId
    url: str
    headers: tuple[str, ...]
    piece_size: PieceSizePolicy
    insecure: bool = False
    root_cas: tuple[str, ...] = ()


class CheckOrigin(Struct, frozen=True):
    """Ask an origin whether it still has the content with this ``validator`` (protocol 7.4).

    Without a validator only ``length`` is compared.  Comes back as ``OriginChecked``.
    """

    fetch: FetchId
    url: str
    headers: tuple[str, ...]
    validator: str
    length: int
    insecure: bool = False
    root_cas: tuple[str, ...] = ()


class HashPiece(Struct, frozen=True):
    """Compute the MD5 of a wrapped piece of the supernode's own copy; see ``PieceHashed``."""

    task: TaskId
    piece: PieceIndex
    piece_size: int


class HashCopy(Struct, frozen=True):
    """Compute the MD5 of the content of the supernode's own copy, all ``length`` bytes of it.

    Comes back as ``CopyHashed``.
    """

    task: TaskId
    length: int


class VerifyPiece(Struct, frozen=True):
    """Read a piece of the supernode's own copy again; comes back as ``PieceVerified``."""

    task: TaskId
    piece: PieceIndex


class ForgetTask(Struct, frozen=True):
    """This task and its peers are known no more; its files may stay as a cache."""

    task: TaskId


class ForgetPeer(Struct, frozen=True):
    """This peer is known no more in a task that goes on."""

    task: TaskId
    peer: PeerId


class DeleteCopy(Struct, frozen=True):
    """Remove the files of a task, which is forgotten if it was not; comes back as ``CopyDeleted``.

    Uploads under way end as they would have.
    """

    copy_of: TaskId


class SurveyDisk(Struct, frozen=True):
    """Find out how full the disk of the copies is, and, if asked to, what copies lie there.

    Comes back as ``DiskSurveyed``.
    """

    lists_copies: bool


class Ban(Struct, frozen=True):
    """A peer is no longer offered as a parent."""

    task: TaskId
    peer: PeerId
    why: str


SupernodeEffect: TypeAlias = (
    Answer
    | ReadOrigin
    | ExpectMany
    | ProbeOrigin
    | CheckOrigin
    | CancelFetch
    | HashPiece
    | HashCopy
    | VerifyPiece
    | ForgetTask
    | ForgetPeer
    | DeleteCopy
    | SurveyDisk
    | Ban
)
