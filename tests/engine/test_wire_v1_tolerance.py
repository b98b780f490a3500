"""What a v1 supernode takes from strangers, and what it refuses (protocol 1.1, 9)."""

from __future__ import annotations

import json

import pytest

from damselfly.engine.errors import RemoteProtocolError
from damselfly.engine.ids import NO_PEER, PeerId, PieceIndex, TaskId, cdn_peer_id
from damselfly.engine.messages import (
    Code,
    LeaveTask,
    PullPieces,
    PullResult,
    PullStatus,
    Register,
    ReportMetrics,
    ReportPiece,
    Request,
)
from damselfly.engine.piece import MIB
from damselfly.engine.wire.v1 import (
    CallError,
    decode_request,
)

TASK = TaskId("3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522")
PEER = PeerId("127.0.0.1-29258-1795450917.200")
JSON_UTF8 = (("content-type", "application/json;charset=utf-8"),)
FORM = (("content-type", "application/x-www-form-urlencoded"),)

CDN = cdn_peer_id("127.0.0.1", TASK)
START = PullPieces(TASK, PEER, PullStatus.START, PullResult.INVALID)
AFTER_PIECE_2 = PullPieces(
    TASK, PEER, PullStatus.RUNNING, PullResult.SEMI_SUCCESS, CDN, PieceIndex(2), 4 * MIB
)


def got(target: str) -> Request:
    return decode_request("GET", target, (), b"")


def test_queries_may_be_escaped_reordered_repeated_and_prefixed_with_a_version():
    assert (
        got(
            f"/v1.0/peer/task?taskId={TASK}&status=701&x=1&result=503&range=8388608-12582911"
            f"&dstCid=cdnnode%3A127.0.0.1%7e{TASK}&srcCid={PEER}&srcCid=second"
        )
        == AFTER_PIECE_2
    )


@pytest.mark.parametrize("cid", ["a:b~c@d", "a%zz", "a+b", "fe80::1%eth0-7-1.000"])
def test_unescaped_text_stays_itself(cid: str):
    request = got(f"/peer/service/down?taskId=t&cid={cid}")
    assert request == LeaveTask(TaskId("t"), PeerId(cid))


def test_a_start_says_nothing_about_pieces():
    target = f"/peer/task?srcCid={PEER}&dstCid=old&range=zz&result=503&status=700&taskId={TASK}"
    assert got(target) == START


def test_a_client_that_is_done_and_one_with_nothing_to_report():
    done = got(f"/peer/task?srcCid={PEER}&range=&result=501&status=702&taskId={TASK}")
    assert done == PullPieces(TASK, PEER, PullStatus.FINISHED, PullResult.SUCCESS)
    idle = got(f"/peer/task?srcCid={PEER}&result=&status=701&taskId={TASK}")
    assert idle == PullPieces(TASK, PEER, PullStatus.RUNNING, PullResult.INVALID)


def test_a_report_may_name_no_parent():
    request = got(f"/peer/piece/suc?taskId={TASK}&cid={PEER}&pieceRange=0-1048575")
    assert request == ReportPiece(TASK, PEER, NO_PEER, PieceIndex(0), MIB)


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("/peer/task?srcCid=&range=&result=502&status=700&taskId=", "taskId is missing"),
        ("/peer/task?srcCid=&range=&result=502&status=700&taskId=t", "srcCid is missing"),
        ("/peer/task?srcCid=c&range=&result=502&status=&taskId=t", "status ''"),
        ("/peer/task?srcCid=c&range=&result=9&status=701&taskId=t", "result '9'"),
        ("/peer/task?srcCid=c&range=zz&result=503&status=701&taskId=t", "range 'zz'"),
        ("/peer/task?srcCid=c&range=0-4194303&result=502&status=701&taskId=t", "result 502"),
        ("/peer/piece/suc?taskId=t&cid=c&dstCid=d&pieceRange=", "pieceRange is missing"),
        ("/peer/piece/suc?taskId=t&cid=c&dstCid=d&pieceRange=5-4", "pieceRange '5-4'"),
        ("/peer/piece/suc?taskId=t&cid=c&dstCid=d&pieceRange=5-104", "pieceRange '5-104'"),
        ("/peer/piece/suc?taskId=t&cid=c&dstCid=d&pieceRange=0-99999999", "'0-99999999'"),
        ("/peer/piece/suc?taskId=t&cid=c&dstCid=d&pieceRange=\u0663-9", "pieceRange"),
        ("/peer/piece/suc?taskId=t&cid=c&pieceRange=0-9&digest=sha1:ab", "digest 'sha1:ab'"),
        ("/peer/piece/suc?cid=c&dstCid=d&pieceRange=0-9", "taskId is missing"),
        ("/peer/piece/error?errorType=X&srcCid=c&taskId=t&range=zz", "range 'zz'"),
        ("/peer/service/down?taskId=t", "cid is missing"),
        (f"/peer/service/down?taskId=t&cid={'c' * 600}", "cid has 600 characters"),
        ("/peer/service/down?taskId=t&cid=a%0d%0ab", "no control characters"),
    ],
)
def test_bad_queries_are_parameter_errors(target: str, what: str):
    with pytest.raises(CallError) as caught:
        got(target)
    assert what in str(caught.value)
    assert (caught.value.code, caught.value.status_hint) == (Code.BAD_PARAMETER, 200)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nosuch", 404),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/peer/task/", 404),
        ("GET", "/vx/peer/task", 404),
        ("GET", "/v1.0", 404),
        ("POST", "/peer/task", 405),
        ("GET", "/peer/registry", 405),
        ("HEAD", "/v1/peer/piece/suc", 405),
    ],
)
def test_calls_that_are_none(method: str, target: str, status: int):
    with pytest.raises(RemoteProtocolError) as caught:
        decode_request(method, target, (), b"")
    assert caught.value.status_hint == status
    assert not isinstance(caught.value, CallError)


# --- registration ---------------------------------------------------------------------------------

MINIMAL: dict[str, object] = {
    "rawUrl": "http://127.0.0.1:9000/f/1000",
    "cid": "x",
    "ip": "127.0.0.1",
    "hostName": "h",
    "port": 20000,
    "path": "/p",
}


def registered(changes: dict[str, object]) -> Register:
    body = json.dumps({**MINIMAL, **changes}).encode()
    request = decode_request("POST", "/peer/registry", JSON_UTF8, body)
    assert isinstance(request, Register)
    return request


def test_a_task_url_left_out_is_the_url():
    assert registered({}).task_url == "http://127.0.0.1:9000/f/1000"


def test_keys_match_in_any_case_null_is_absent_and_unknown_keys_are_ignored():
    body = (
        b'{"RAWURL":"HTTP://h/f","IP":"127.0.0.1","HOSTNAME":"h","PORT":20000,"PATH":"/p",'
        b'"CID":"x","md5":null,"headers":null,"bogus":{"a":[1]},"taskId":"t","asSeed":true}'
    )
    request = decode_request("POST", "/peer/registry", (), body)
    assert request == registered({"rawUrl": "HTTP://h/f"})


def test_curl_sends_json_under_the_forms_type():
    body = json.dumps(MINIMAL).encode()
    assert decode_request("POST", "/peer/registry", FORM, body) == registered({})


def test_the_recorded_form():
    body = (
        b"rawUrl=http%3A%2F%2F127.0.0.1%3A9000%2Ff%2F1000&taskUrl=http%3A%2F%2F127.0.0.1%3A9000"
        b"%2Ff%2F1000&ip=127.0.0.1&hostName=h&port=20000&path=/p&cid=xf&version=1"
        b"&superNodeIp=127.0.0.1"
    )
    request = decode_request("POST", "/peer/registry", FORM, body)
    changes: dict[str, object] = {"cid": "xf", "version": "1", "superNodeIp": "127.0.0.1"}
    assert request == registered(changes)


def test_forms_repeat_lists_and_match_names_in_any_case():
    body = (
        b"rawURL=http://127.0.0.1:9000/f/1000&IP=127.0.0.1&hostName=h&port=20000&path=/p&cID=x"
        b"&headers=a:b+c&headers=d%3Ae&dfdaemon=true&insecure=0&md5=&rootCAs=QQ=="
    )
    request = decode_request("POST", "/peer/registry", FORM, body)
    changes: dict[str, object] = {
        "headers": ["a:b c", "d:e"],
        "dfdaemon": True,
        "rootCAs": ["QQ=="],
    }
    assert request == registered(changes)


def test_an_unknown_form_key_is_an_error():
    with pytest.raises(CallError, match="unknown form key 'bogus'"):
        decode_request("POST", "/peer/registry", FORM, b"rawUrl=http://h/f&bogus=1")


def test_lines_that_a_real_client_cut_at_commas_are_taken():
    assert registered({"headers": ["a:b", "X-Foo:1", "2"]}).headers == ("a:b", "X-Foo:1", "2")


@pytest.mark.parametrize(
    ("node", "host"),
    [
        ("", ""),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("127.0.0.1:8002", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]:8002", "::1"),
    ],
)
def test_the_name_under_which_a_node_was_reached(node: str, host: str):
    assert registered({"superNodeIp": node}).node_host == host


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rawUrl": "ftp://h/f"}, "rawUrl 'ftp://h/f': expected http:// or https://"),
        ({"rawUrl": ""}, "rawUrl is missing"),
        ({"rawUrl": ["http://h/f"]}, "rawUrl is a list: expected a text"),
        ({"rawUrl": "http://h/" + "f" * 20000}, "at most 16384"),
        ({"cid": None}, "cid is missing"),
        ({"cid": {"a": 1}}, "cid is an object: expected a text"),
        ({"path": ""}, "path is missing"),
        ({"path": "@evil/p"}, "path '@evil/p': expected a leading /"),
        ({"ip": ""}, "ip '': expected an IP address"),
        ({"ip": "10.1.2"}, "ip '10.1.2'"),
        ({"ip": "fe80::1%eth0"}, "ip 'fe80::1%eth0'"),
        ({"hostName": ""}, "hostName '': expected a host name"),
        ({"hostName": "a b"}, "hostName 'a b'"),
        ({"superNodeIp": "a/b"}, "superNodeIp 'a/b'"),
        ({"port": 100}, "port 100: expected 0 or 15000 to 65000"),
        ({"port": 65001}, "port is 65001"),
        ({"port": -1}, "port is -1"),
        ({"port": "abc"}, "port is 'abc': expected a number"),
        ({"port": "1" * 5000}, "port is '111"),
        ({"port": 1 << 70}, "port is 1180591620717411303424"),
        ({"port": 20000.5}, "port is 20000.5"),
        ({"port": True}, "port is True"),
        ({"headers": "a:b"}, "headers is 'a:b': expected a list"),
        ({"headers": [1]}, "headers is 1: expected a list of texts"),
        ({"headers": ["a:b\r\nc:d"]}, "headers: expected no control characters"),
        ({"headers": ["a:b"] * 129}, "headers has 129 items: expected at most 128"),
        ({"dfdaemon": "maybe"}, "dfdaemon is 'maybe': expected true or false"),
        ({"insecure": 1}, "insecure is 1"),
    ],
)
def test_bad_registrations_are_parameter_errors(changes: dict[str, object], what: str):
    with pytest.raises(CallError) as caught:
        registered(changes)
    assert what in str(caught.value)
    assert caught.value.code is Code.BAD_PARAMETER


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"[]", b"null", b"{", b"\xff", b'{"port":' + b"[" * 5000]
)
@pytest.mark.parametrize("target", ["/peer/registry", "/task/metrics"])
def test_bodies_that_are_no_json_object(target: str, body: bytes):
    with pytest.raises(CallError, match=f"{target}: expected a JSON object"):
        decode_request("POST", target, JSON_UTF8, body)


def test_recorded_metrics_with_little_in_them():
    body = b'{"IP":"127.0.0.1","cID":"x","taskId":"t","duration":1.5,"fileLength":10}'
    request = decode_request("POST", "/task/metrics", (), body)
    assert request == ReportMetrics(TaskId("t"), PeerId("x"), "127.0.0.1", 0, False, 1.5, 10)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"port":5}', "port 5: expected 0 or 15000"),
        (b'{"duration":"x"}', "duration is 'x': expected a number"),
        (b'{"duration":-1}', "duration is -1"),
        (b'{"duration":1e30}', "duration is 1e\\+30"),
        (b'{"fileLength":-2}', "fileLength is -2"),
        (b'{"success":[]}', "success is a list"),
    ],
)
def test_bad_metrics(body: bytes, what: str):
    with pytest.raises(CallError, match=what):
        decode_request("POST", "/task/metrics", (), body)
