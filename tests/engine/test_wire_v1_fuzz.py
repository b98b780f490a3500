"""The v1 codecs against everything: what goes in comes out, and garbage never breaks them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.errors import RemoteProtocolError
from damselfly.engine.ids import NO_PEER, PeerId, PieceIndex, TaskId
from damselfly.engine.messages import (
    Acknowledged,
    Code,
    LeaveTask,
    PieceOffer,
    PiecesOffered,
    PullPieces,
    PullResult,
    PullStatus,
    Refused,
    Register,
    Registered,
    ReportMetrics,
    ReportPiece,
    ReportPieceError,
    TaskCompleted,
    V1Reply,
    V1Request,
)
from damselfly.engine.piece import MAX_PIECE_SIZE, NO_DIGEST, Digest, DigestForm
from damselfly.engine.wire.v1 import decode_reply, decode_request, encode_reply, encode_request

from .drawn import made

if TYPE_CHECKING:
    from damselfly.engine.wire.v1_bodies import Headers

UNCONTROLLED = st.characters(exclude_categories=["Cs", "Cc"])
texts = st.text(UNCONTROLLED, max_size=12)
names = st.text(UNCONTROLLED, min_size=1, max_size=12)
tasks = names.map(TaskId)
peers = names.map(PeerId)
parents = st.one_of(st.just(NO_PEER), peers)
indices = st.integers(0, 1 << 30).map(PieceIndex)
sizes = st.integers(6, MAX_PIECE_SIZE)
lengths = st.integers(-1, 1 << 62)
hex64 = st.binary(min_size=32, max_size=32).map(bytes.hex)
digests = st.one_of(st.just(NO_DIGEST), hex64.map(lambda text: Digest(f"sha256:{text}")))
ports = st.one_of(st.just(0), st.integers(15000, 65000))
urls = texts.map(lambda text: f"http://{text}")
paths = texts.map(lambda text: f"/{text}")
reported = st.sampled_from([PullResult.FAILED, PullResult.SUCCESS, PullResult.SEMI_SUCCESS])
# No port behind them: what is decoded has none.
nodes = st.one_of(
    st.from_regex(r"[A-Za-z0-9.-]{0,20}", fullmatch=True), st.ip_addresses(v=6).map(str)
)
moving = st.sampled_from([PullStatus.RUNNING, PullStatus.FINISHED])


@st.composite
def registrations(draw: st.DrawFn) -> Register:
    md5, form = draw(texts), draw(st.sampled_from(DigestForm))
    native = form is DigestForm.SHA256 and draw(st.booleans())
    return Register(
        raw_url=draw(urls),
        task_url=draw(urls),
        peer=draw(peers),
        ip=str(draw(st.ip_addresses())),
        host_name=draw(st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)),
        port=draw(ports),
        path=draw(paths),
        version=draw(texts),
        node_host=draw(nodes),
        md5=md5,
        identifier="" if md5 else draw(texts),
        call_system=draw(texts),
        headers=tuple(draw(st.lists(texts, max_size=3))),
        dfdaemon=draw(st.booleans()),
        insecure=draw(st.booleans()),
        root_cas=tuple(draw(st.lists(texts, max_size=2))),
        digest_form=form,
        native=native,
        relays=native and draw(st.booleans()),
    )


requests: st.SearchStrategy[V1Request] = st.one_of(
    registrations(),
    made(PullPieces, tasks, peers, st.just(PullStatus.START), st.just(PullResult.INVALID)),
    made(PullPieces, tasks, peers, moving, st.sampled_from(PullResult), parents),
    made(PullPieces, tasks, peers, moving, reported, parents, indices, sizes),
    made(ReportPiece, tasks, peers, parents, indices, sizes, digests),
    made(ReportPieceError, tasks, peers, parents, texts, texts),
    made(ReportPieceError, tasks, peers, parents, texts, texts, indices, sizes, texts, texts),
    made(LeaveTask, tasks, peers),
    made(
        ReportMetrics,
        *(tasks, peers, texts, ports, st.booleans(), st.floats(0, 1e9), lengths, texts, texts),
    ),
)


@given(requests)
def test_requests_come_out_as_they_went_in(request: V1Request):
    call = encode_request(request)
    assert call.target.isascii()
    assert decode_request(call.method, call.target, call.headers, call.body) == request


A_PULL = PullPieces(TaskId("t"), PeerId("p"), PullStatus.START, PullResult.INVALID)
A_REPORT = ReportPiece(TaskId("t"), PeerId("p"), NO_PEER, PieceIndex(0), 6)
A_REGISTRATION = Register(
    *("http://h/f", "http://h/f", PeerId("p"), "1.2.3.4", "h", 0, "/p"),
    digest_form=DigestForm.SHA256,
)
ALL_KINDS: tuple[V1Request, ...] = (
    *(A_PULL, A_REPORT, A_REGISTRATION, LeaveTask(TaskId("t"), PeerId("p"))),
    ReportPieceError(TaskId("t"), PeerId("p"), NO_PEER, "x"),
    ReportMetrics(TaskId("t"), PeerId("p"), "", 0, True, 1.0, 1),
)
offers = made(
    PieceOffer,
    *(indices, peers, names, st.integers(0, 65535), paths, sizes, texts),
    st.one_of(st.just(""), hex64),
    st.integers(0, 1 << 40),
)
refusals = made(
    Refused,
    st.sampled_from([code for code in Code if (code < 600 and code != 200) or 602 <= code <= 610]),
    texts,
)
replies: st.SearchStrategy[tuple[V1Request, V1Reply]] = st.one_of(
    st.tuples(
        st.just(A_REGISTRATION),
        made(Registered, tasks, lengths, sizes, names, st.sampled_from(DigestForm), texts),
    ),
    st.tuples(st.just(A_PULL), st.lists(offers, max_size=4).map(lambda o: PiecesOffered(tuple(o)))),
    st.tuples(st.just(A_PULL), made(TaskCompleted, texts, lengths)),
    st.tuples(
        st.just(A_REPORT),
        st.sampled_from([Code.SUCCESS, Code.REPORT_OK, Code.LEAVE_OK]).map(Acknowledged),
    ),
    st.tuples(st.sampled_from(ALL_KINDS), refusals),
)


@given(replies)
def test_replies_come_out_as_they_went_in(exchange: tuple[V1Request, V1Reply]):
    request, reply = exchange
    status, _, body = encode_reply(request, reply)
    assert decode_reply(request, status, body) == reply


@st.composite
def broken(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of a good message, cut short, overwritten, or with something put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


answers = replies.map(lambda exchange: encode_reply(*exchange)[2])


@given(st.sampled_from(ALL_KINDS), st.one_of(st.binary(), broken(answers)))
def test_no_answer_breaks_the_client(request: V1Request, body: bytes):
    with suppress(RemoteProtocolError):
        decode_reply(request, 200, body)
    with pytest.raises(RemoteProtocolError, match="HTTP status 500"):
        decode_reply(request, 500, body)


def status_of(method: str, target: str, headers: Headers, body: bytes) -> int:
    """What a server would answer; whatever else is raised fails the test."""
    try:
        decode_request(method, target, headers, body)
    except RemoteProtocolError as error:
        return error.status_hint
    return 200


@given(requests, st.data())
def test_no_call_breaks_the_server(request: V1Request, data: st.DataObject):
    call = encode_request(request)
    target = data.draw(broken(st.just(call.target.encode()))).decode("latin-1")
    body = data.draw(broken(st.just(call.body)))
    form = (("Content-Type", "application/x-www-form-urlencoded"),)
    assert status_of(call.method, target, call.headers, call.body) in (200, 404, 405)
    assert status_of(call.method, call.target, call.headers, body) == 200
    assert status_of(call.method, call.target, form, body) == 200


@given(st.text(), st.text(), st.binary())
def test_no_noise_breaks_the_server(method: str, text: str, body: bytes):
    assert status_of(method, text, (), body) in (200, 404, 405)
    assert status_of("GET", f"/peer/task?{text}", (), body) == 200
    assert status_of("GET", f"/peer/piece/suc?taskId=t&cid=c&{text}", (), body) == 200
    assert status_of("POST", "/peer/registry", (), body) == 200
