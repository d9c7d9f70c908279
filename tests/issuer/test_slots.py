"""Which index a token carries: list and position, its place in the jti, how ranges are given away and when they die."""

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer import slots
from issuer.slots import LIST_SIZE, MAX_INDEX, NOTHING_ALLOTTED, NotATokenId, Numbering, OutOfIndexes, SlotRange
from keys.policy import RotationPolicy

INDEXES = st.integers(0, MAX_INDEX)
LENGTHS = st.sampled_from([256, 8192, 262144, LIST_SIZE])
MOVES = st.one_of(LENGTHS, st.just("raise"), st.just("new realm"))
POLICY = RotationPolicy(clock_error=60, verifier_leeway=60, snapshot_refresh=2)


@given(INDEXES)
def test_an_index_is_a_list_and_a_position_in_it(index: int) -> None:
    assert slots.first_index(slots.list_of(index)) + slots.position_of(index) == index
    assert 0 <= slots.position_of(index) < LIST_SIZE


@given(INDEXES)
def test_a_jti_carries_its_index_in_28_characters(index: int) -> None:
    first, second = slots.token_id(index), slots.token_id(index)
    assert first != second
    assert len(first) == 28
    assert slots.index_of(first) == slots.index_of(second) == index


@given(st.one_of(st.text(max_size=40), st.text("ABCabc019-_+/=", min_size=28, max_size=28)))
def test_114_a_jti_has_one_spelling(text: str) -> None:
    try:
        index = slots.index_of(text)
    except NotATokenId:
        return
    raw = base64.urlsafe_b64decode(text)
    assert base64.urlsafe_b64encode(raw).decode() == text
    assert index == int.from_bytes(raw[15:], "big")


@pytest.mark.parametrize("text", ["", "x" * 27, "x" * 29, "é" * 28, "+" * 28, "/" * 28, "=" * 28, "A" * 27 + "="])
def test_what_is_no_jti_of_ours_carries_no_index(text: str) -> None:
    with pytest.raises(NotATokenId):
        slots.index_of(text)


@pytest.mark.parametrize("length", [256, 8192, 262144, LIST_SIZE])
def test_an_index_is_drawn_from_anywhere_in_the_range(length: int) -> None:
    drawn = [slots.draw(SlotRange(5 * LIST_SIZE, length), ()) - 5 * LIST_SIZE for _ in range(2000)]
    assert 0 <= min(drawn) < length // 50
    assert length - length // 50 <= max(drawn) < length


def test_a_set_index_is_never_drawn_while_another_is_left() -> None:
    taken = set(range(1000, 1256)) - {1007, 1250}
    assert {slots.draw(SlotRange(1000, 256), taken) for _ in range(200)} == {1007, 1250}
    assert 1000 <= slots.draw(SlotRange(1000, 256), range(2000)) < 1256  # all are: dead on arrival, but drawn


@given(st.lists(MOVES, max_size=40))
def test_no_index_is_given_away_twice_and_no_range_crosses_the_end_of_a_list(moves: list[int | str]) -> None:
    numbering, floor, offsets = NOTHING_ALLOTTED, 0, []
    given_away: set[tuple[int, int]] = set()
    for move in moves:
        above = max((end for _, end in given_away), default=0)
        if isinstance(move, int):
            begin, numbering = numbering.allot(move)
            assert begin >= floor
            assert slots.list_of(begin) == slots.list_of(begin + move - 1)
            assert all(end <= begin or begin + move <= start for start, end in given_away)
            offsets.append((begin - floor, move))
            given_away.add((begin, begin + move))
        else:
            floor, numbering = numbering.raised(floor) if move == "raise" else numbering.fresh()
            assert floor >= above
            assert floor % LIST_SIZE == 0
            offsets = offsets if move == "raise" else []
            given_away |= {(floor + offset, floor + offset + length) for offset, length in offsets}


def test_a_range_of_a_whole_list_leaves_the_small_ones_together() -> None:
    first, numbering = NOTHING_ALLOTTED.allot(256)
    whole, numbering = numbering.allot(LIST_SIZE)
    second, numbering = numbering.allot(256)
    assert (first, whole, second) == (0, LIST_SIZE, 256)
    assert numbering == Numbering(512, 2)


def test_a_list_is_filled_to_its_end() -> None:
    numbering = Numbering(LIST_SIZE - 256, 1)
    for expected in (LIST_SIZE - 256, LIST_SIZE, LIST_SIZE + 256):
        begin, numbering = numbering.allot(256)
        assert begin == expected
    assert Numbering(LIST_SIZE - 256, 1).allot(8192) == (LIST_SIZE, Numbering(LIST_SIZE + 8192, 2))


def test_a_path_that_is_used_up_gives_nothing_away_and_its_floor_stands_above_every_index() -> None:
    last = slots.list_of(MAX_INDEX)
    assert Numbering(0, last).allot(LIST_SIZE)[0] + LIST_SIZE - 1 == MAX_INDEX
    used_up = Numbering(0, last + 1)
    for give in (lambda: used_up.allot(LIST_SIZE), used_up.fresh):
        with pytest.raises(OutOfIndexes):
            give()
    for numbering in (used_up, used_up.skipped(1 << 20), Numbering(7, last).skipped(5), Numbering(0, last)):
        floor, after = numbering.raised(0, 2)
        assert floor == MAX_INDEX + 1
        assert (after, after.raised(floor)) == (Numbering(floor, last + 1), (floor, after))
        with pytest.raises(OutOfIndexes):
            after.allot(256)


@given(st.integers(0, 3), st.lists(MOVES, max_size=20))
def test_no_index_is_given_away_twice_at_the_end_of_a_path_either(left: int, moves: list[int | str]) -> None:
    floor = slots.first_index(slots.END_LIST - left - 1)
    numbering, offsets = Numbering(floor, slots.END_LIST - left - 1), []
    given_away: set[tuple[int, int]] = set()
    for move in moves:
        if isinstance(move, int):
            try:
                begin, numbering = numbering.allot(move)
            except OutOfIndexes:
                continue
            offsets.append((begin - floor, move))
            assert all(end <= begin or begin + move <= start for start, end in given_away)
            given_away.add((begin, begin + move))
        elif move == "raise":
            above = max((end for _, end in given_away), default=0)
            floor, numbering = numbering.raised(floor)
            assert floor >= above
            moved = [SlotRange(floor + offset, length) for offset, length in offsets]
            given_away |= {(each.begin, each.begin + each.length) for each in moved if slots.is_drawable(each)}
    assert all(end <= MAX_INDEX + 1 for _, end in given_away)


@pytest.mark.parametrize(
    ("count", "length", "full"), [(3, 256, False), (4, 256, True), (5, 256, True), (127, 8192, False)]
)
def test_a_range_is_full_when_one_in_64_is_set(count: int, length: int, full: bool) -> None:
    assert slots.is_full(count, length) is full


def test_each_range_is_32_times_as_long_as_the_one_before_up_to_a_whole_list() -> None:
    lengths = [256]
    for _ in range(4):
        lengths.append(slots.next_length(lengths[-1]))
    assert lengths == [256, 8192, 262144, LIST_SIZE, LIST_SIZE]


def test_the_first_end_of_a_range_counts_and_every_tolerance_is_added() -> None:
    slack = 20 + 60 + 120
    assert slots.after_last(POLICY) == slack
    assert slots.dead_from((None, None, None), 600, POLICY) is None
    assert slots.dead_from((5000, 4000, None), 600, POLICY) == 4000 + 600 + slack
    assert slots.dead_from((None, None, 7000), 3600, POLICY) == 7000 + 3600 + slack


def test_who_hears_when_follows_from_the_settings() -> None:
    told = slots.hearing(POLICY)
    assert (told.lists, told.cut_off, told.too_early, told.too_early_cut_off) == (14, 20, 2, 20)
    assert slots.hearing(RotationPolicy(snapshot_refresh=10)).lists == 22


def test_twenty_thousand_identifiers_of_one_index_differ() -> None:
    index = secrets.randbelow(MAX_INDEX)
    assert len({slots.token_id(index) for _ in range(20_000)}) == 20_000
