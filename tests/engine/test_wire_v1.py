"""The v1 codecs against recorded bytes, and against answers that make no sense."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from damselfly.engine.errors import LocalProtocolError, RemoteProtocolError
from damselfly.engine.ids import PeerId, PieceIndex, TaskId, cdn_peer_id
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
from damselfly.engine.piece import MIB, Digest, DigestForm
from damselfly.engine.wire.v1 import (
    CallError,
    V1Call,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)

TASK = TaskId("3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522")
PEER = PeerId("127.0.0.1-29258-1795450917.200")
CDN = cdn_peer_id("127.0.0.1", TASK)
JSON_UTF8 = (("content-type", "application/json;charset=utf-8"),)
FORM = (("content-type", "application/x-www-form-urlencoded"),)

REGISTER = Register(
    raw_url="http://127.0.0.1:9000/f/9000000?a=1&b=2",
    task_url="http://127.0.0.1:9000/f/9000000?a=1",
    peer=PEER,
    ip="127.0.0.1",
    host_name="vm",
    port=20000,
    path="/peer/file/A-29258-1795450917.200",
    version="1.0.6",
    node_host="127.0.0.1",
)
REGISTER_BODY = (
    b'{"superNodeIp":"127.0.0.1","rawUrl":"http://127.0.0.1:9000/f/9000000?a=1\\u0026b=2",'
    b'"taskUrl":"http://127.0.0.1:9000/f/9000000?a=1","cid":"127.0.0.1-29258-1795450917.200",'
    b'"ip":"127.0.0.1","hostName":"vm","port":20000,'
    b'"path":"/peer/file/A-29258-1795450917.200","version":"1.0.6"}'
)
START = PullPieces(TASK, PEER, PullStatus.START, PullResult.INVALID)
AFTER_PIECE_2 = PullPieces(
    TASK, PEER, PullStatus.RUNNING, PullResult.SEMI_SUCCESS, CDN, PieceIndex(2), 4 * MIB
)
IN_ORDER = PullPieces(TASK, PEER, PullStatus.START, PullResult.INVALID, wanted=PieceIndex(7))
REPORT = ReportPiece(TASK, PEER, CDN, PieceIndex(2), 4 * MIB)
BAD_MD5 = ReportPieceError(
    TASK,
    PEER,
    CDN,
    kind="FILE_MD5_NOT_MATCH",
    parent_ip="127.0.0.1",
    piece=PieceIndex(0),
    piece_size=4 * MIB,
    real_md5="48666134921d07223ecb378e4b60a50b",
    expected_md5="0da62bebf46be30d82efba679eaeeaf2",
)
GONE_FILE = ReportPieceError(TASK, PEER, CDN, kind="FILE_NOT_EXIST")
LEAVE = LeaveTask(TASK, PEER)
METRICS = ReportMetrics(TASK, PEER, "127.0.0.1", 20000, True, 0.868632697, 9_000_000)


def get(target: str) -> V1Call:
    return V1Call("GET", target)


def post(target: str, body: bytes) -> V1Call:
    return V1Call("POST", target, (("Content-Type", "application/json;charset=utf-8"),), body)


RECORDED_REQUESTS: list[tuple[V1Request, V1Call]] = [
    (REGISTER, post("/peer/registry", REGISTER_BODY)),
    (
        START,
        get(f"/peer/task?srcCid={PEER}&dstCid=&range=&result=502&status=700&taskId={TASK}"),
    ),
    (
        AFTER_PIECE_2,
        get(
            f"/peer/task?srcCid={PEER}&dstCid=cdnnode:127.0.0.1~{TASK}"
            f"&range=8388608-12582911&result=503&status=701&taskId={TASK}"
        ),
    ),
    (
        REPORT,
        get(
            f"/peer/piece/suc?taskId={TASK}&cid={PEER}"
            f"&dstCid=cdnnode:127.0.0.1~{TASK}&pieceRange=8388608-12582911"
        ),
    ),
    (
        BAD_MD5,
        get(
            f"/peer/piece/error?errorType=FILE_MD5_NOT_MATCH&srcCid={PEER}"
            f"&dstCid=cdnnode:127.0.0.1~{TASK}&dstIp=127.0.0.1&taskId={TASK}&range=0-4194303"
            "&realMd5=48666134921d07223ecb378e4b60a50b"
            "&expectedMd5=0da62bebf46be30d82efba679eaeeaf2"
        ),
    ),
    (
        GONE_FILE,
        get(
            f"/peer/piece/error?errorType=FILE_NOT_EXIST&srcCid={PEER}"
            f"&dstCid=cdnnode:127.0.0.1~{TASK}&dstIp=&taskId={TASK}&range=&realMd5=&expectedMd5="
        ),
    ),
    (LEAVE, get(f"/peer/service/down?taskId={TASK}&cid={PEER}")),
    (
        METRICS,
        post(
            "/task/metrics",
            b'{"IP":"127.0.0.1","backsourceReason":"0","cID":"127.0.0.1-29258-1795450917.200",'
            b'"duration":0.868632697,"fileLength":9000000,"port":20000,"success":true,'
            b'"taskId":"3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522"}',
        ),
    ),
]


def received(call: V1Call) -> V1Request:
    headers = tuple((name.lower(), value) for name, value in call.headers)
    return decode_request(call.method, call.target, headers, call.body)


@pytest.mark.parametrize(("request_", "call"), RECORDED_REQUESTS)
def test_recorded_requests_both_ways(request_: V1Request, call: V1Call):
    assert encode_request(request_) == call
    assert received(call) == request_


def test_a_recorded_registration_with_everything():
    body = (
        b'{"superNodeIp":"127.0.0.1","rawUrl":"http://127.0.0.1:9000/f/100000",'
        b'"taskUrl":"http://127.0.0.1:9000/f/100000","cid":"127.0.0.1-27451-1795451192.886",'
        b'"ip":"127.0.0.1","hostName":"vm","port":49837,'
        b'"path":"/peer/file/o-27451-1795451192.886","version":"1.0.6","identifier":"ident",'
        b'"callSystem":"cs","headers":["a:b","X-Foo:1,2"],"dfdaemon":true}'
    )
    request = received(post("/peer/registry", body))
    assert isinstance(request, Register)
    assert request.headers == ("a:b", "X-Foo:1,2")
    assert (request.identifier, request.call_system, request.dfdaemon) == ("ident", "cs", True)
    assert encode_request(request).body == body


def test_metrics_leave_out_what_is_false_zero_or_empty():
    body = encode_request(ReportMetrics(TASK, PEER, "", 0, False, 20.0, 5, "1000", "cs")).body
    assert body == (
        b'{"IP":"","backsourceReason":"1000","cID":"127.0.0.1-29258-1795450917.200",'
        b'"callSystem":"cs","duration":20,"fileLength":5,'
        b'"taskId":"3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522"}'
    )


def test_our_extensions_travel_where_v1_programs_ignore_them():
    wanting = Register("http://h/f", "http://h/f", PEER, "1.2.3.4", "h", 0, "/p", digest_form=SHA)
    call = encode_request(wanting)
    assert ("X-Damselfly-Digest", "sha256") in call.headers
    assert b"igest" not in call.body
    assert received(call) == wanting
    relaying = replace(wanting, native=True, relays=True)
    call = encode_request(relaying)
    assert ("X-Damselfly-Relays", "1") in call.headers
    assert received(call) == relaying
    assert received(encode_request(replace(relaying, native=False))) == wanting
    digest = Digest("sha256:" + "ab" * 32)
    reporting = ReportPiece(TASK, PEER, CDN, PieceIndex(0), MIB, digest)
    assert encode_request(reporting).target.endswith(f"pieceRange=0-1048575&digest={digest}")
    assert received(encode_request(reporting)) == reporting
    assert encode_request(IN_ORDER).target.endswith(f"&taskId={TASK}&wanted=7")
    assert received(encode_request(IN_ORDER)) == IN_ORDER


@pytest.mark.parametrize("wanted", ["-1", "x", "", "1" * 19])
def test_a_piece_that_nobody_can_want(wanted: str):
    call = get(f"{encode_request(START).target}&wanted={wanted}")
    with pytest.raises(CallError, match="expected the number of a piece"):
        received(call)


SHA = DigestForm.SHA256


def test_values_that_would_break_a_request_line_are_escaped():
    spiteful = PeerId("1.2.3.4 HTTP/1.1\r\nHost: x&taskId=%41+é")
    call = encode_request(LeaveTask(TASK, spiteful))
    assert call.target.isascii()
    assert not any(mark in call.target for mark in (" ", "\r", "\n"))
    with pytest.raises(CallError, match="expected no control characters"):
        received(call)
    harmless = PeerId("1.2.3.4 x&taskId=%41+é")
    assert received(encode_request(LeaveTask(TASK, harmless))) == LeaveTask(TASK, harmless)


def test_text_that_is_not_unicode_cannot_be_registered():
    register = Register("http://h/\udcff", "http://h/", PEER, "1.2.3.4", "h", 0, "/p")
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        encode_request(register)


# --- replies --------------------------------------------------------------------------------------

OFFER = PieceOffer(
    PieceIndex(2),
    CDN,
    "127.0.0.1",
    8001,
    f"/download/3de/{TASK}",
    4 * MIB,
    md5="316ff604ac356c5f00d950e4c9a73e15:611407",
)
OFFER_KEYS = (
    b'{"range":"8388608-12582911","pieceNum":2,"pieceSize":4194304,'
    b'"pieceMd5":"316ff604ac356c5f00d950e4c9a73e15:611407","cid":"cdnnode:127.0.0.1~3de29b7d0d96'
    b'eb69026697adc230baf229d983dba960962ec9a7aacafe918522","peerIp":"127.0.0.1","peerPort":8001,'
    b'"path":"/download/3de/3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522",'
    b'"downLink":0}'
)
RECORDED_REPLIES: list[tuple[V1Request, V1Reply, bytes]] = [
    (
        REGISTER,
        Registered(TASK, 9_000_000, 4 * MIB),
        b'{"code":200,"data":{"taskId":"3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe'
        b'918522","fileLength":9000000,"pieceSize":4194304,"cdnSource":"supernode","asSeed":false,'
        b'"seedTaskID":""},"msg":"success"}\n',
    ),
    (START, PiecesOffered((OFFER,)), b'{"code":601,"data":[' + OFFER_KEYS + b"]}\n"),
    (
        AFTER_PIECE_2,
        TaskCompleted("f1a7f8cfecd53569f792336ffae98c42", 9_000_015),
        b'{"code":600,"data":{"fileLength":9000015,"md5":"f1a7f8cfecd53569f792336ffae98c42"}}\n',
    ),
    (
        START,
        Refused(Code.PEER_WAIT, 'clientSucCount:0: {"Code":9}'),
        b'{"code":602,"msg":"clientSucCount:0: {\\"Code\\":9}"}\n',
    ),
    (START, Refused(Code.CDN_FAILED), b'{"code":604}\n'),
    (START, Acknowledged(), b'{"code":200}\n'),
    (REPORT, Acknowledged(Code.REPORT_OK), b'{"code":611}\n'),
    (LEAVE, Acknowledged(Code.LEAVE_OK), b'{"code":612}\n'),
    (METRICS, Acknowledged(), b"null\n"),
    (BAD_MD5, Acknowledged(), b""),
    (
        BAD_MD5,
        Refused(Code.BAD_PARAMETER, "a&b<c>"),
        b'{"code":501,"msg":"a&b<c>"}\n',
    ),
]


@pytest.mark.parametrize(("request_", "reply", "body"), RECORDED_REPLIES)
def test_recorded_replies_both_ways(request_: V1Request, reply: V1Reply, body: bytes):
    status, content_type, encoded = encode_reply(request_, reply)
    assert (status, encoded) == (200, body)
    assert content_type == ("application/json" if body else "text/plain")
    assert decode_reply(request_, status, body) == reply


def test_a_recorded_offer_of_a_url_keeps_its_ampersand():
    url = "http://127.0.0.1:9000/f/9000000?a=1&b=2"
    offer = PieceOffer(PieceIndex(0), CDN, "127.0.0.1", 8001, url, 4 * MIB)
    body = encode_reply(START, PiecesOffered((offer,)))[2]
    assert b'"path":"http://127.0.0.1:9000/f/9000000?a=1&b=2","downLink":0}' in body
    assert decode_reply(START, 200, body) == PiecesOffered((offer,))


def test_a_call_that_could_not_be_read_is_answered_all_the_same():
    assert encode_reply(None, Refused(Code.BAD_PARAMETER, "no")) == (
        200,
        "application/json",
        b'{"code":501,"msg":"no"}\n',
    )


def test_only_a_peer_that_asked_for_sha256_sees_our_registry_keys():
    reply = Registered(TASK, 1, MIB, digest_form=SHA, validator='"etag"')
    plain = encode_reply(REGISTER, reply)[2]
    assert plain == encode_reply(REGISTER, Registered(TASK, 1, MIB))[2]
    wanting = Register("http://h/f", "http://h/f", PEER, "1.2.3.4", "h", 0, "/p", digest_form=SHA)
    body = encode_reply(wanting, reply)[2]
    assert b'"seedTaskID":"","digestForm":"sha256","validator":"\\"etag\\""},' in body
    assert decode_reply(wanting, 200, body) == reply
    assert b"digestForm" not in encode_reply(wanting, Registered(TASK, 1, MIB))[2]


def test_an_offer_with_our_digest():
    offer = PieceOffer(PieceIndex(0), PEER, "h", 1, "/p", MIB, sha256="0f" * 32)
    body = encode_reply(START, PiecesOffered((offer,)))[2]
    assert b'"downLink":0,"pieceSha256":"0f0f' in body
    assert decode_reply(START, 200, body) == PiecesOffered((offer,))


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":601}',
        b'{"code":601,"data":null}',
        b'{"code":601,"data":[]}',
        b'{"CODE":601,"Data":[],"addition":{"a":"b"}}',
    ],
)
def test_nothing_new_is_no_offers(body: bytes):
    assert decode_reply(START, 200, body) == PiecesOffered(())


def test_old_supernodes_leave_keys_out():
    body = b'{"code":200,"data":{"taskId":"t","fileLength":-1,"pieceSize":4194304}}'
    assert decode_reply(REGISTER, 200, body) == Registered(TaskId("t"), -1, 4 * MIB)
    assert decode_reply(START, 200, b'{"code":600}') == TaskCompleted("", 0)
    offered = (
        b'{"code":601,"data":[{"pieceNum":0,"pieceSize":4194304,"peerIp":"10.0.0.1","peerPort":0,'
        b'"path":"http://origin/f","pieceMd5":"","cid":"c","downLink":20480}]}'
    )
    offer = PieceOffer(
        *(PieceIndex(0), PeerId("c"), "10.0.0.1", 0, "http://origin/f", 4 * MIB),
        down_link_kb_per_s=20480,
    )
    assert decode_reply(START, 200, offered) == PiecesOffered((offer,))


@pytest.mark.parametrize("request_", [REPORT, BAD_MD5, LEAVE, METRICS])
@pytest.mark.parametrize("body", [b"", b"null\n", b'{"code":200,"msg":"success"}'])
def test_reports_are_taken_in_many_ways(request_: V1Request, body: bytes):
    assert decode_reply(request_, 200, body) == Acknowledged()


@pytest.mark.parametrize(
    ("request_", "body", "reply"),
    [
        (START, b'{"code":777}', Refused(Code.UNKNOWN_ERROR, "code 777")),
        (START, b'{"code":-100,"msg":"x"}', Refused(Code.UNKNOWN_ERROR, "code -100 x")),
        (START, b'{"code":501,"msg":"list:\\nport"}', Refused(Code.BAD_PARAMETER, "list: port")),
        (START, b'{"code":602,"msg":[1]}', Refused(Code.PEER_WAIT)),
        (REGISTER, b'{"code":606,"msg":"x"}', Refused(Code.TASK_CONFLICT, "x")),
        (REGISTER, b'{"code":611}', Refused(Code.REPORT_OK)),
        (REGISTER, b'{"code":601,"data":[]}', Refused(Code.PEER_CONTINUE)),
        (REPORT, b'{"code":600}', Refused(Code.PEER_FINISH)),
    ],
)
def test_other_codes_are_refusals(request_: V1Request, body: bytes, reply: V1Reply):
    assert decode_reply(request_, 200, body) == reply


def offered(**changes: object) -> bytes:
    offer = {**json.loads(OFFER_KEYS), **changes}
    return json.dumps({"code": 601, "data": [offer]}).encode()


@pytest.mark.parametrize(
    ("request_", "status", "body", "what"),
    [
        (START, 500, b'{"code":500,"message":"x"}', 'HTTP status 500: b\'{"code":500'),
        (REPORT, 404, b"404 page not found\n", "HTTP status 404: b'404 page"),
        (START, 200, b"", "expected a JSON object, got b''"),
        (START, 200, b"null", "expected a JSON object"),
        (START, 200, b"<html>", "got b'<html>'"),
        (START, 200, b"{}", "code is missing"),
        (START, 200, b'{"code":[]}', "code is a list"),
        (REPORT, 200, b"ok", "expected a JSON object"),
        (REGISTER, 200, b'{"code":200}', "data is None: expected an object"),
        (REGISTER, 200, b'{"code":200,"data":{}}', "data: taskid is missing"),
        (REGISTER, 200, b'{"code":200,"data":{"taskId":"t"}}', "filelength is missing"),
        (
            REGISTER,
            200,
            b'{"code":200,"data":{"taskId":"t","fileLength":1,"pieceSize":5}}',
            "piecesize is 5: expected a number from 6 to 15728640",
        ),
        (START, 200, b'{"code":600,"data":[1]}', "data is a list: expected an object"),
        (START, 200, b'{"code":601,"data":{}}', "data is an object: expected a list"),
        (START, 200, b'{"code":601,"data":[1]}', "data is 1: expected an object"),
        (START, 200, b'{"code":601,"data":[' + b"{}," * 1024 + b"{}]}", "1025 items"),
        (START, 200, offered(pieceNum=-1), "piecenum is -1"),
        (START, 200, offered(pieceNum=3), "range '8388608-12582911' is not that of piece 3"),
        (START, 200, offered(pieceSize=1 << 30), "piecesize is 1073741824"),
        (START, 200, offered(peerPort=65536), "peerport is 65536"),
        (START, 200, offered(peerIp=""), "peerip is missing"),
        (START, 200, offered(path="p"), "path 'p': expected a leading / or a URL"),
        (START, 200, offered(path="/a\nb"), "no control characters"),
        (START, 200, offered(pieceSha256="xyz"), "pieceSha256 'xyz'"),
        (START, 200, offered(pieceSha256="Z" * 64), "pieceSha256"),
    ],
)
def test_answers_that_make_no_sense(request_: V1Request, status: int, body: bytes, what: str):
    with pytest.raises(RemoteProtocolError) as caught:
        decode_reply(request_, status, body)
    assert what in str(caught.value)
    assert f"answer to {type(request_).__name__}: " in str(caught.value)
