"""Settings of monitoring, read from STORYSHELF_* environment variables."""

from typing import Literal

from pydantic import Field

from feature_repo.settings import Settings


class MonitoringSettings(Settings):
    """What is compared with what, when a difference counts as drift, and where the dashboards are served."""

    monitor_host: str = Field(
        "127.0.0.1", description="Address that Evidently's UI listens on. It has no log-in: keep it on loopback or behind a proxy."
    )
    monitor_port: int = Field(8000, ge=0, le=65535, description="Port of Evidently's UI; 0 takes any free one.")
    monitor_interval_s: float = Field(
        300.0, ge=0, description="Seconds between refreshes while the dashboards are served; 0 refreshes only at start."
    )

    monitor_window_hours: int = Field(
        24, ge=1, le=168, description="Length of a window in hours; windows are aligned to midnight UTC of the shop's time."
    )
    monitor_settle_hours: int = Field(
        24, ge=0, description="Hours after its end during which a window is built again when late clicks or purchases came in."
    )
    monitor_lookback_windows: int = Field(60, ge=1, description="Windows that a refresh looks back; older ones stay as they were last built.")
    monitor_reference: Literal["first", "preceding"] = Field(
        "first", description="Reference: the first days (fixed) or the days before each window (moving)."
    )
    monitor_reference_days: int = Field(7, ge=1, description="Days in the reference.")

    monitor_sample_rows: int = Field(5000, ge=100, description="Most rows of a window or reference that drift is computed on; more are sampled down.")
    monitor_seed: int = Field(20, ge=0, description="Seed of that sample.")
    monitor_min_rows: int = Field(50, ge=2, description="Fewest rows, users or showings on either side for which anything is judged.")
    monitor_drift_method: Literal["psi", "jensenshannon", "ks"] = Field("psi", description="How Evidently compares distributions.")
    monitor_drift_threshold: float = Field(0.2, gt=0, description="Score from which a column has drifted, under psi and jensenshannon.")
    monitor_drift_p_value: float = Field(0.001, gt=0, lt=1, description="p-value below which a column has drifted, under ks (labels: chi-squared).")
    monitor_missing_jump: float = Field(0.1, gt=0, le=1, description="Rise in a feature's share of missing values that counts as a broken feed.")
    monitor_measure_change: float = Field(
        0.2, gt=0, description="Relative change of a measure of the shelf (coverage, concentration and so on) that counts as drift."
    )
    monitor_rate_change: float = Field(0.2, gt=0, description="Relative change of an engagement rate that counts as drift, if it is also certain.")
    monitor_confidence: float = Field(0.999, gt=0.5, lt=1, description="Confidence of the intervals around rates and of their difference.")
