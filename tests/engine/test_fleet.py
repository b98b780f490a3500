"""Few hosts or many: what a supernode takes its fleet for, and what it has read for that."""

from __future__ import annotations

from random import Random

from damselfly.engine.config import SupernodeConfig
from damselfly.engine.effects import ExpectMany, ReadOrigin, SupernodeEffect
from damselfly.engine.events import OriginOpened, Requested, SupernodeEvent
from damselfly.engine.fleet import FEW_HOSTS, Fleet
from damselfly.engine.ids import ExchangeId, PeerId
from damselfly.engine.messages import Register
from damselfly.engine.piece import MIB
from damselfly.engine.supernode import SupernodeEngine

from ..driven import Driven, one, only


def test_a_host_counts_once_and_for_an_hour() -> None:
    fleet = Fleet()
    for number in range(FEW_HOSTS + 1):
        assert fleet.is_small(number)
        fleet.saw(f"10.0.0.{number % FEW_HOSTS}", number)
    assert fleet.is_small(100)
    fleet.saw("10.0.1.1", 100)
    assert not fleet.is_small(100)
    assert not fleet.is_small(3601), "the one heard of longest ago is the second"
    assert fleet.is_small(3602)


def test_no_more_hosts_are_remembered_than_matter() -> None:
    fleet = Fleet()
    for number in range(1000):
        fleet.saw(f"host {number}", number)
    assert not fleet.is_small(1000)
    assert not fleet.is_small(983 + 3600)
    assert fleet.is_small(984 + 3600)


class Supernode(Driven[SupernodeEvent, SupernodeEffect]):
    def __init__(self) -> None:
        super().__init__(SupernodeEngine(SupernodeConfig(), Random(1)))
        self._exchange = 0

    def join(self, now: float, url: str, host: str) -> list[SupernodeEffect]:
        self._exchange += 1
        wanted = Register(url, url, PeerId(f"{host}-{self._exchange}"), host, "host", 20000, "/p")
        return self.at(now, Requested(ExchangeId(self._exchange), wanted))


def test_a_read_is_for_few_hosts_until_many_have_asked() -> None:
    node = Supernode()
    opened = one(ReadOrigin, node.join(0, "http://o/opened", "10.0.0.1"))
    waiting = one(ReadOrigin, node.join(0, "http://o/waiting", "10.0.0.1"))
    assert opened.few_hosts
    assert waiting.few_hosts
    node.at(1, OriginOpened(opened.fetch, 5 * MIB, MIB, ranged=True, validator=""))
    for number in range(2, FEW_HOSTS + 1):
        assert not only(ExpectMany, node.join(1, "http://o/waiting", f"10.0.0.{number}"))
    many = one(ExpectMany, node.join(1, "http://o/opened", "10.0.1.1"))
    assert many.read == waiting.fetch, "the other has its head, and its pieces are cut"
    assert not only(ExpectMany, node.join(1, "http://o/waiting", "10.0.1.2"))
    assert not one(ReadOrigin, node.join(2, "http://o/next", "10.0.0.1")).few_hosts
