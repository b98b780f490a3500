"""The table behind ``/peers``: who registered here, and which downloads are theirs (protocol 2.2).

A record is made by hand, and lasts until it is deleted, or by the registration of a download, and
goes with it.  It has a name of its own beside the cid of a download: ``<host>-<ip>-<time in ns>``.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NewType

from .errors import DamselflyError
from .ids import NO_PEER
from .records import dataclass

if TYPE_CHECKING:
    from .ids import PeerId, TaskId

RecordId = NewType("RecordId", str)
NO_RECORD: Final = RecordId("")


class TableFull(DamselflyError):
    """There are as many records that last as the table may have."""


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """One peer; ``created_ns`` is its wall clock time of registration.  ``port`` 0: serves nobody.

    One that ``lasts`` was not made by the registration of a download.
    """

    id: RecordId
    ip: str
    host_name: str
    port: int
    version: str
    created_ns: int
    lasts: bool


class PeerRecords:
    """All records of one supernode.

    Of more than ``capacity`` the oldest is forgotten, which matters to nobody but readers of the
    list; those that last stay.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._records: dict[RecordId, PeerRecord] = {}
        self._passing: dict[RecordId, None] = {}  # those that do not last, in order
        self._owners: dict[TaskId, dict[PeerId, RecordId]] = {}
        self._downloads: dict[RecordId, dict[TaskId, PeerId]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(
        self, ip: str, host_name: str, port: int, version: str, now_ns: int, *, lasts: bool = True
    ) -> PeerRecord:
        """Make a record.  Raises ``TableFull`` if there is no room and nothing to forget."""
        if len(self._records) >= self._capacity:
            oldest = next(iter(self._passing), None)
            if oldest is None:
                raise TableFull(f"{len(self._records)} peers are registered; delete some first")
            self.remove(oldest)
        while (name := RecordId(f"{host_name}-{ip}-{now_ns}")) in self._records:
            now_ns += 1
        record = PeerRecord(name, ip, host_name, port, version, now_ns, lasts)
        self._records[name] = record
        if not lasts:
            self._passing[name] = None
        return record

    def get(self, name: RecordId) -> PeerRecord | None:
        """Return a record by its name."""
        return self._records.get(name)

    def remove(self, name: RecordId) -> dict[TaskId, PeerId]:
        """Forget a record; return the downloads that were its own, if it was known at all."""
        self._records.pop(name, None)
        self._passing.pop(name, None)
        downloads = self._downloads.pop(name, {})
        for task, peer in downloads.items():
            self._disown(task, peer)
        return downloads

    def page(self, number: int, size: int, *, newest_first: bool = False) -> list[PeerRecord]:
        """Return one page of all records by age; ``size`` 0: all of them."""
        found = sorted(self._records.values(), key=attrgetter("created_ns"), reverse=newest_first)
        return found[number * size : (number + 1) * size] if size else found

    def per_ip(self) -> dict[str, int]:
        """Count the records of each address."""
        found: dict[str, int] = {}
        for record in self._records.values():
            found[record.ip] = found.get(record.ip, 0) + 1
        return found

    # --- whose downloads are whose ---

    def own(self, name: RecordId, task: TaskId, peer: PeerId) -> None:
        """Let the download ``peer`` of ``task`` belong to a known record, and to no other."""
        if self.owner(task, peer) == name or name not in self._records:
            return
        self.forget(task, peer)
        downloads = self._downloads.setdefault(name, {})
        if (former := downloads.get(task)) is not None:
            self._disown(task, former)
        downloads[task] = peer
        self._owners.setdefault(task, {})[peer] = name

    def owner(self, task: TaskId, peer: PeerId) -> RecordId:
        """Return whose download it is, empty if nobody's."""
        return self._owners.get(task, {}).get(peer, NO_RECORD)

    def download(self, name: RecordId, task: TaskId) -> PeerId:
        """Return the download of ``task`` that belongs to a record, empty if none does."""
        return self._downloads.get(name, {}).get(task, NO_PEER)

    def forget(self, task: TaskId, peer: PeerId) -> None:
        """A download is over, and with it a record that does not last."""
        name = self.owner(task, peer)
        if name in self._passing:
            self.remove(name)
        elif name:
            downloads = self._downloads[name]
            del downloads[task]
            if not downloads:
                del self._downloads[name]
            self._disown(task, peer)

    def forget_task(self, task: TaskId) -> int:
        """All downloads of a task are over; return how many there were."""
        peers = list(self._owners.get(task, ()))
        for peer in peers:
            self.forget(task, peer)
        return len(peers)

    def check(self) -> None:
        """Recount from scratch."""
        assert self._downloads.keys() <= self._records.keys()
        owned = {
            (task, peer, name)
            for task, peers in self._owners.items()
            for peer, name in peers.items()
        }
        assert owned == {
            (task, peer, name)
            for name, downloads in self._downloads.items()
            for task, peer in downloads.items()
        }
        assert all(self._owners.values())
        assert all(self._downloads.values())
        assert list(self._passing) == [r.id for r in self._records.values() if not r.lasts]

    def _disown(self, task: TaskId, peer: PeerId) -> None:
        peers = self._owners[task]
        del peers[peer]
        if not peers:
            del self._owners[task]
