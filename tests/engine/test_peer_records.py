"""The table of peers: names, pages, and whose downloads are whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damselfly.engine.ids import NO_PEER, PeerId, TaskId
from damselfly.engine.peer_records import NO_RECORD, PeerRecords, RecordId, TableFull

TASK, OTHER = TaskId("1" * 64), TaskId("2" * 64)


def add(records: PeerRecords, now_ns: int, *, lasts: bool = True, ip: str = "10.0.0.1"):
    return records.add(ip, "h", 20000, "1.0.6", now_ns, lasts=lasts)


def test_a_name_says_who_and_when() -> None:
    records = PeerRecords()
    made = records.add("10.1.2.4", "h2", 20001, "9", 1795451263347545377)
    assert made.id == "h2-10.1.2.4-1795451263347545377"
    assert records.get(made.id) is made
    assert records.get(RecordId("none")) is None


def test_two_of_the_same_instant_have_two_names() -> None:
    records = PeerRecords()
    assert add(records, 5).id != add(records, 5).id
    assert len(records) == 2


def test_pages_by_age() -> None:
    records = PeerRecords()
    made = [add(records, now) for now in (30, 10, 20)]
    by_age = [made[1], made[2], made[0]]
    assert records.page(0, 0) == by_age
    assert records.page(0, 2) == by_age[:2]
    assert records.page(1, 2) == by_age[2:]
    assert records.page(7, 2) == []
    assert records.page(0, 0, newest_first=True) == by_age[::-1]
    assert records.page(3, 0) == by_age, "without a size there is one page"


def test_a_record_of_a_download_goes_with_it() -> None:
    records = PeerRecords()
    made = add(records, 1, lasts=False)
    records.own(made.id, TASK, PeerId("a"))
    assert records.owner(TASK, PeerId("a")) == made.id
    assert records.download(made.id, TASK) == "a"
    records.forget(TASK, PeerId("b"))
    assert len(records) == 1
    records.forget(TASK, PeerId("a"))
    assert len(records) == 0
    assert records.owner(TASK, PeerId("a")) == NO_RECORD
    records.check()


def test_a_record_made_by_hand_outlives_its_downloads() -> None:
    records = PeerRecords()
    made = add(records, 1)
    records.own(made.id, TASK, PeerId("a"))
    records.own(made.id, OTHER, PeerId("b"))
    assert records.forget_task(TASK) == 1
    assert records.download(made.id, TASK) == NO_PEER
    assert records.download(made.id, OTHER) == "b"
    assert records.remove(made.id) == {OTHER: PeerId("b")}
    assert records.remove(made.id) == {}
    records.check()


def test_a_download_that_registers_again_has_one_record() -> None:
    records = PeerRecords()
    first, second = add(records, 1, lasts=False), add(records, 2, lasts=False)
    records.own(first.id, TASK, PeerId("a"))
    records.own(second.id, TASK, PeerId("a"))
    assert records.page(0, 0) == [second]
    records.own(second.id, TASK, PeerId("a"))
    assert records.owner(TASK, PeerId("a")) == second.id
    records.check()


def test_the_oldest_makes_room_but_not_those_that_last() -> None:
    records = PeerRecords(capacity=2)
    lasting, passing = add(records, 1), add(records, 2, lasts=False)
    records.own(passing.id, TASK, PeerId("a"))
    fresh = add(records, 3, lasts=False)
    assert records.page(0, 0) == [lasting, fresh]
    assert records.owner(TASK, PeerId("a")) == NO_RECORD
    add(records, 4)
    with pytest.raises(TableFull, match="2 peers"):
        add(records, 5)
    records.check()


def test_counts_by_address() -> None:
    records = PeerRecords()
    for number, ip in enumerate(("a", "b", "a")):
        add(records, number, ip=ip)
    assert records.per_ip() == {"a": 2, "b": 1}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("add", "pass", "own", "forget", "remove", "forget_task")),
            st.integers(0, 5),
            st.sampled_from((TASK, OTHER)),
            st.sampled_from((PeerId("a"), PeerId("b"), PeerId("c"))),
        ),
        max_size=40,
    )
)
def test_whatever_happens_it_adds_up(steps: list[tuple[str, int, TaskId, PeerId]]) -> None:
    records = PeerRecords(capacity=4)
    names = [RecordId("none")]
    for now, (step, number, task, peer) in enumerate(steps):
        name = names[number % len(names)]
        match step:
            case "add" | "pass":
                try:
                    names.append(add(records, now, lasts=step == "add").id)
                except TableFull:
                    assert len(records) == 4
            case "own":
                records.own(name, task, peer)
            case "forget":
                records.forget(task, peer)
            case "remove":
                records.remove(name)
            case _:
                records.forget_task(task)
        records.check()
