"""What counts as drift, on columns whose shift is known."""

import numpy as np
import pandas as pd
import pytest
from evidently import Report
from scipy.stats import chi2

from monitoring.drift import Comparison, Finding, compare, drift_findings, drift_metrics, noise, sample
from monitoring.settings import MonitoringSettings

SETTINGS = MonitoringSettings()


def frame(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user_id": [f"u_{number}" for number in range(rows)],
            "same": draw.lognormal(0, 1, rows),
            "shifted": draw.normal(shift, 1, rows),
            "few": draw.integers(0, 5, rows).astype(float),
            "label": draw.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2] if not shift else [0.1, 0.3, 0.6]),
        }
    )


def findings(current: pd.DataFrame, reference: pd.DataFrame, settings: MonitoringSettings = SETTINGS) -> dict[tuple[str, str], Finding]:
    compared = compare(current, reference, settings)
    snapshot = Report(drift_metrics(compared, settings)).run(*compared.datasets())
    return {(each.metric, each.column): each for each in drift_findings(snapshot, compared, settings)}


@pytest.mark.parametrize("method", ["psi", "jensenshannon", "ks"])
def test_a_shifted_column_drifts_and_one_of_the_same_distribution_does_not(method: str) -> None:
    settings = SETTINGS.model_copy(update={"monitor_drift_method": method})
    found = findings(frame(600, 1, shift=1.0), frame(1500, 2), settings)
    drifted = {column: each.drifted for (metric, column), each in found.items() if metric == "drift"}
    assert drifted == {"same": False, "shifted": True, "few": False, "label": True}


def test_an_identical_frame_scores_0() -> None:
    same = frame(400, 1)
    assert all(each.value == pytest.approx(0, abs=1e-9) and each.drifted is False for each in findings(same, same).values())


def test_a_shift_shows_in_spite_of_one_huge_value() -> None:
    current, reference = frame(600, 1, shift=1.0), frame(1500, 2)
    reference.loc[0, "shifted"] = 1e9
    assert findings(current, reference)[("drift", "shifted")].drifted


def test_few_rows_raise_the_threshold_and_very_few_are_not_judged() -> None:
    assert compare(frame(1500, 1), frame(1500, 2), SETTINGS).limits["same"] == SETTINGS.monitor_drift_threshold
    assert compare(frame(60, 1), frame(1500, 2), SETTINGS).limits["same"] > SETTINGS.monitor_drift_threshold
    tiny = compare(frame(20, 1), frame(1500, 2), SETTINGS)
    assert not tiny.limits
    assert "20 rows or users" in tiny.unjudged["same"]


def test_chance_alone_stays_below_the_threshold() -> None:
    """25 samples of 100 rows of one distribution, 4 columns each, of which at most one may be called drifted."""
    reference = frame(2000, 999)
    drifted = sum(bool(each.drifted) for seed in range(25) for each in findings(frame(100, seed), reference).values())
    assert drifted <= 1


@pytest.mark.parametrize("method", ["psi", "jensenshannon"])
def test_noise_falls_with_rows_and_is_nothing_for_one_value(method: str) -> None:
    shares = np.array([0.5, 0.3, 0.2])
    assert noise(shares, 100, 1000, method) > 3 * noise(shares, 10_000, 100_000, method)
    assert noise(np.array([1.0]), 100, 1000, method) == 0


def test_the_noise_of_well_filled_bins_is_the_textbook_s() -> None:
    """Yurdakul, Statistical properties of population stability index, 2018: chi-squared(bins - 1) x (1/n + 1/m)."""
    assert noise(np.full(10, 0.1), 2000, 4000, "psi") == pytest.approx(chi2.ppf(0.999, 9) * (1 / 2000 + 1 / 4000), rel=0.15)


def test_many_rows_of_one_user_are_one_observation() -> None:
    current = frame(600, 1).assign(user_id="u_1")
    assert "1 rows or users" in compare(current, frame(1500, 2), SETTINGS).unjudged["same"]


def test_rows_without_a_user_count_for_themselves() -> None:
    assert compare(frame(600, 1).assign(user_id=None), frame(1500, 2), SETTINGS).limits


def test_a_feature_that_goes_missing_is_found() -> None:
    current = frame(600, 1)
    current.loc[:300, "same"] = None
    found = findings(current, frame(1500, 2))
    assert found[("missing", "same")].drifted
    assert found[("missing", "same")].value == pytest.approx(301 / 600)


def test_ids_are_no_labels() -> None:
    current, reference = (frame(rows, 1).assign(name=[f"n{number}" for number in range(rows)]) for rows in (300, 400))
    assert "different values" in compare(current, reference, SETTINGS).unjudged["name"]


def test_the_sample_is_seeded_and_in_order() -> None:
    settings = SETTINGS.model_copy(update={"monitor_sample_rows": 100})
    rows = frame(1000, 1)
    chosen = sample(rows, settings)
    assert len(chosen) == 100
    assert chosen.index.is_monotonic_increasing
    pd.testing.assert_frame_equal(chosen, sample(rows, settings))
    assert not chosen.index.equals(sample(rows, settings.model_copy(update={"monitor_seed": 21})).index)


def test_without_a_reference_nothing_is_compared() -> None:
    compared = compare(frame(100, 1), None, SETTINGS)
    assert isinstance(compared, Comparison)
    assert not drift_metrics(compared, SETTINGS)
