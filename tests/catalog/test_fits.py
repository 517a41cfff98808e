"""The rough answer to where a model fits."""

from webapp.catalog.fits import Fit, Room, leading, places

ROOMS = [Room("a", 8), Room("b", 4, (6, 6)), Room("c", 8), Room("d", 2, (30,)), Room("e", 31), Room("f", 31, (5,))]


def test_a_gpu_is_named_before_two_and_two_before_memory():
    assert places(6, ROOMS[:2]) == [Fit("a", "memory"), Fit("b", "GPU")]
    assert places(7, [ROOMS[1]]) == [Fit("b", "2 GPUs")]
    assert places(40, ROOMS) == [Fit(room.name, "") for room in ROOMS]


def test_the_first_host_of_the_leading_ones_is_the_first_of_all():
    few = leading(ROOMS)
    assert [room.name for room in few] == ["a", "b", "d", "e"]
    for need in range(1, 40):
        first, among = (
            next((fit for fit in places(need, rooms) if fit.where), None) for rooms in (ROOMS, few)
        )  # fmt: skip
        assert first == among, need
