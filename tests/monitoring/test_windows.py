"""Windows of the shop's time."""

from datetime import UTC, datetime, timedelta

from monitoring.windows import Window, between, floor, reference_of

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)


def test_windows_are_whole_days_and_the_last_one_is_open() -> None:
    windows = list(between(NOON, NOON + timedelta(days=1), 24))
    assert [window.start for window in windows] == [datetime(2025, 3, 3, tzinfo=UTC), datetime(2025, 3, 4, tzinfo=UTC)]
    assert windows[-1].end > NOON + timedelta(days=1)


def test_windows_of_six_hours_begin_at_multiples_of_six() -> None:
    assert floor(NOON + timedelta(hours=5), 6) == NOON
    assert len(list(between(NOON, NOON + timedelta(hours=12), 6))) == 3


def test_the_first_days_stay_the_reference_and_the_preceding_ones_move() -> None:
    window = Window(NOON + timedelta(days=20), NOON + timedelta(days=21))
    assert reference_of(window, NOON, 7, "first") == Window(NOON, NOON + timedelta(days=7))
    assert reference_of(window, NOON, 7, "preceding") == Window(NOON + timedelta(days=13), window.start)


def test_touching_windows_do_not_overlap() -> None:
    first, second = Window(NOON, NOON + timedelta(days=1)), Window(NOON + timedelta(days=1), NOON + timedelta(days=2))
    assert not first.overlaps(second)
    assert first.overlaps(Window(NOON + timedelta(hours=1), NOON + timedelta(hours=2)))
