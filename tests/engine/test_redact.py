"""Secrets leave a recording; what was equal or different stays so."""

from __future__ import annotations

import pytest

from damselfly.engine import redact
from damselfly.engine.config import DownloadConfig
from damselfly.engine.ids import PeerId, PieceIndex, TaskId, cdn_peer_id, task_id
from damselfly.engine.messages import PieceOffer, PiecesOffered, Register
from damselfly.engine.redact import Redactor
from damselfly.engine.vocabulary import VOCABULARY


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pass@h/f", "http://redacted-1@h/f"),
        ("GET https://token@h:1/f?a=b@c failed", "GET https://redacted-1@h:1/f?a=b@c failed"),
        ("http://u:p@ss@h/", "http://redacted-1@h/"),
        (
            "http://a:b@h http://a:b@h http://c@h",
            "http://redacted-1@h http://redacted-1@h http://redacted-2@h",
        ),
        ("http://redacted-1@h/f", "http://redacted-1@h/f"),
        ("http://h/f@2x.png", "http://h/f@2x.png"),
        ("http://h/f?to=me@home", "http://h/f?to=me@home"),
        ("mail me@home: see http://h/", "mail me@home: see http://h/"),
        ("nothing here", "nothing here"),
        (
            "https://b.s3.example/f?X-Amz-Credential=AK%2F1&X-Amz-Date=2026&X-Amz-Signature=5e#x",
            "https://b.s3.example/f?X-Amz-Credential=redacted-1&X-Amz-Date=2026"
            "&X-Amz-Signature=redacted-2#x",
        ),
        ("http://h/f?sv=1&sig=a%3D&se=2 failed", "http://h/f?sv=1&sig=redacted-1&se=2 failed"),
        (
            "http://h/f?OSSAccessKeyId=a&Signature=b&Expires=9",
            "http://h/f?OSSAccessKeyId=redacted-1&Signature=redacted-2&Expires=9",
        ),
        ("http://h/f?a=1&access_token=x", "http://h/f?a=1&access_token=redacted-1"),
        ("http://u@h/f?token=u", "http://redacted-1@h/f?token=redacted-1"),
        ("http://h/f?tokens=1&design=2&token=", "http://h/f?tokens=1&design=2&token="),
        ("is it a token?token=1", "is it a token?token=1"),
    ],
)
def test_secrets_leave_urls(text: str, shown: str):
    redactor = Redactor()
    assert redactor.text(text) == shown
    assert redactor.text(shown) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Authorization:Bearer x", "Authorization:redacted-1"),
        ("authorization: Bearer x", "authorization: redacted-1"),
        ("Proxy-Authorization:Basic x", "Proxy-Authorization:redacted-1"),
        ("Cookie: a=b; c=d", "Cookie: redacted-1"),
        ("X-Auth-Token:x", "X-Auth-Token:redacted-1"),
        ("X-Amz-Security-Token:x", "X-Amz-Security-Token:redacted-1"),
        ("Private-Token:x", "Private-Token:redacted-1"),
        ("X-Api-Key:x", "X-Api-Key:redacted-1"),
        ("Authorization:", "Authorization:"),
        ("Range: bytes=0-9", "Range: bytes=0-9"),
        ("Accept: */*", "Accept: */*"),
        ("Referer: http://u:p@h/", "Referer: http://redacted-1@h/"),
        ("no colon", "no colon"),
    ],
)
def test_secrets_leave_headers(line: str, shown: str):
    redactor = Redactor()
    assert redactor.header_line(line) == shown
    assert redactor.header_line(shown) == shown


def test_stand_ins_are_told_apart_and_never_given_twice():
    redactor = Redactor()
    assert redactor.header_line("Cookie:redacted-4") == "Cookie:redacted-4"
    assert redactor.header_line("Cookie:a") == "Cookie:redacted-5"
    assert redactor.header_line("Authorization:b") == "Authorization:redacted-6"
    assert redactor.text("http://a@h/") == "http://redacted-5@h/"


SECRET, SHOWN = "http://me:pw@h/f", "http://redacted-1@h/f"


def test_the_task_of_a_presigned_url_becomes_that_of_the_url_shown():
    redactor = Redactor()
    url, shown = "http://h/f?v=1&Signature=abc", "http://h/f?v=1&Signature=redacted-1"
    redactor.learn(Register(url, url, PeerId("p"), *("1.2.3.4", "h"), 0, "/p"))
    assert redactor.text(f"task {task_id(url)}") == f"task {task_id(shown)}"


@pytest.mark.parametrize(
    ("extra", "byte_range"), [((), ""), (("Range: bytes=0-9",), "bytes=0-9"), (("a:b",), "")]
)
def test_task_ids_follow_their_urls(extra: tuple[str, ...], byte_range: str):
    redactor = Redactor()
    redactor.learn(
        Register(SECRET, SECRET, PeerId("p"), *("1.2.3.4", "h"), 0, "/p", md5="00", headers=extra)
    )
    real = task_id(SECRET, md5="00", byte_range=byte_range)
    shown = task_id(SHOWN, md5="00", byte_range=byte_range)
    other = task_id("http://h/f")
    assert redactor.text(f"{real} {other}") == f"{shown} {other}"
    cdn = cdn_peer_id("1.2.3.4", TaskId(real))
    offer = PieceOffer(PieceIndex(0), cdn, "h", 1, f"/download/{real[:3]}/{real}", 1 << 20)
    assert VOCABULARY.decode(VOCABULARY.encode(PiecesOffered((offer,)), redactor)) == (
        PiecesOffered(
            (
                PieceOffer(
                    *(PieceIndex(0), cdn_peer_id("1.2.3.4", TaskId(shown)), "h", 1),
                    *(f"/download/{shown[:3]}/{shown}", 1 << 20),
                ),
            )
        )
    )


def test_settings_are_redacted_like_what_comes_of_them():
    redactor = Redactor()
    config = DownloadConfig(SECRET, SECRET, PeerId("p"), headers=("Cookie:x",))
    shown = VOCABULARY.decode(VOCABULARY.encode(config, redactor))
    assert shown == DownloadConfig(SHOWN, SHOWN, PeerId("p"), headers=("Cookie:redacted-2",))
    assert VOCABULARY.decode(VOCABULARY.encode(shown, Redactor())) == shown
    assert redactor.text(task_id(SECRET)) == task_id(SHOWN)


def test_secrets_without_end_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_MOST", 3)
    redactor = Redactor()
    first = redactor.text("http://h/f?sig=0")
    for number in range(1, 10):
        redactor.text(f"http://h/f?sig={number}")
    assert redactor.text("http://h/f?sig=9") == "http://h/f?sig=redacted-10"
    assert redactor.text("http://h/f?sig=0") == "http://h/f?sig=redacted-11" != first
