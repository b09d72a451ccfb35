"""Which state holds at which moment."""

import numpy as np

from feature_repo.transforms.interest import at_moments


def test_a_state_holds_from_its_time_until_the_next_one_of_its_key() -> None:
    user, key, at = np.array([0, 0, 0, 1]), np.array([5, 5, 6, 5]), np.array([10, 20, 15, 1])
    moments = {"user_id": np.array([0, 0, 0, 0, 1]), "at_us": np.array([9, 10, 19, 20, 0])}
    row, moment = at_moments(user, at, key, moments)
    assert sorted(zip(moment.tolist(), row.tolist(), strict=True)) == [(1, 0), (2, 0), (2, 2), (3, 1), (3, 2)]


def test_many_users_with_times_in_microseconds_stay_apart() -> None:
    # Users times microseconds once went past 64 bits and gave a user everybody's states.
    users, now = np.arange(5_000), 1_760_000_000_000_000
    moments = {"user_id": users, "at_us": np.full(5_000, now + 1)}
    row, moment = at_moments(users, np.full(5_000, now), np.zeros(5_000, np.int64), moments)
    assert row.tolist() == moment.tolist() == users.tolist()


def test_no_states_hold_nowhere() -> None:
    nothing = np.zeros(0, np.int64)
    row, moment = at_moments(nothing, nothing, nothing, {"user_id": np.array([0]), "at_us": np.array([1])})
    assert len(row) == len(moment) == 0
