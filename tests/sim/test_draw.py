from __future__ import annotations

from dataclasses import fields

from damselfly.sim.draw import draw
from damselfly.sim.scenario import Scenario

DRAWN = [draw(seed) for seed in range(400)]
LEFT_ALONE = {"until_s"}


def test_a_seed_decides_the_whole_scenario() -> None:
    assert draw(7) == draw(7) == Scenario.draw(7)
    assert draw(7).seed == 7
    assert draw(8) != draw(7)


def test_every_knob_is_turned() -> None:
    for field in fields(Scenario):
        values = {repr(getattr(scenario, field.name)) for scenario in DRAWN}
        assert (len(values) > 1) != (field.name in LEFT_ALONE), field.name


def test_shapes_are_of_all_kinds_but_small() -> None:
    shapes = [(scenario.peers, scenario.layout.count, scenario.file_bytes) for scenario in DRAWN]
    assert {1, 2, 3} <= {peers for peers, _, _ in shapes}
    assert max(peers for peers, _, _ in shapes) > 40
    assert max(pieces for _, pieces, _ in shapes) > 200
    assert 0 in {size for _, _, size in shapes}
    assert all(peers * pieces <= 2000 for peers, pieces, _ in shapes)


def test_what_cuts_everybody_off_for_good_is_left_out() -> None:
    for scenario in DRAWN:
        lasting = [c for c in scenario.supernode_crashes if c.back_after_s is None]
        assert scenario.back_to_source or not lasting
        assert all(slow.for_s is not None for slow in scenario.slowdowns)
