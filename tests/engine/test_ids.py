"""Names and the formulas behind them: values recorded from real programs (protocol 5)."""

from __future__ import annotations

import pytest

from damselfly.engine import ids

TASK = ids.TaskId("12cac05b5a754ea5306fe6519e9a28adec85d46c288d6e13a625c41a9a885dca")


@pytest.mark.parametrize(
    ("url", "byte_range", "expected"),
    [
        (
            "http://127.0.0.1:9000/f/9000000?a=1",
            "",
            "3de29b7d0d96eb69026697adc230baf229d983dba960962ec9a7aacafe918522",
        ),
        ("http://127.0.0.1:9000/f/1000", "", TASK),
        (
            "http://127.0.0.1:9000/f/5000",
            "bytes=100-199",
            "fcf4ab663a6646881d1756622a83652a435c6712210137bfd140e620aa4541a4",
        ),
    ],
)
def test_recorded_task_ids(url: str, byte_range: str, expected: str):
    assert ids.task_id(url, byte_range=byte_range) == expected


def test_the_md5_salts_a_task_id_as_recorded_and_wins_over_the_identifier():
    url, md5 = "http://127.0.0.1:9000/f/1002", "0" * 32
    recorded = "fe0c1523795ed0d1b91c4eb61811b4db80eb5799844c8eba7afb4121527f4537"
    assert ids.task_id(url, md5=md5) == recorded
    assert ids.task_id(url, md5=md5, identifier="release-7") == recorded
    assert ids.task_id(url, identifier=md5) == recorded
    assert ids.task_id(url, identifier="release-7") != ids.task_id(url)


@pytest.mark.parametrize(
    ("url", "dropped", "expected"),
    [
        ("http://h/f?a=1&b=2", ("b",), "http://h/f?a=1"),
        ("http://h/f?a=1&b=2", ("a",), "http://h/f?b=2"),
        ("http://h/f?a=1&b=2", ("a", "b"), "http://h/f"),
        ("http://h/f?a=1&b=2", (), "http://h/f?a=1&b=2"),
        ("http://h/f?a=1&b=2", ("c",), "http://h/f?a=1&b=2"),
        ("http://h/f", ("a",), "http://h/f"),
        ("http://h/f?", ("a",), "http://h/f?"),
        ("http://h/f?a&b=2&a=3#frag", ("a",), "http://h/f?b=2"),
        ("http://h/f?b=2&c#a=1", ("a",), "http://h/f?b=2&c#a=1"),
        ("http://h/f?a=1?b&b=2", ("b",), "http://h/f?a=1?b"),
    ],
)
def test_task_urls_lose_the_filtered_parameters(url: str, dropped: tuple[str, ...], expected: str):
    assert ids.task_url(url, dropped) == expected


def test_names_of_one_download():
    sign = ids.sign(28504, 1795450898.0314)
    assert sign == "28504-1795450898.031"
    assert ids.peer_id("127.0.0.1", sign) == "127.0.0.1-28504-1795450898.031"
    assert ids.peer_id("", sign) == "-28504-1795450898.031"
    assert ids.task_file_name("A", sign) == "A-28504-1795450898.031"


def test_the_supernodes_own_copy_has_a_name_of_its_own():
    cdn = ids.cdn_peer_id("127.0.0.1", TASK)
    assert cdn == f"cdnnode:127.0.0.1~{TASK}"
    assert ids.is_cdn(cdn)
    assert not ids.is_cdn(ids.peer_id("127.0.0.1", "1-2.000"))
