"""Evidently metrics of our own: what its catalogue has no metric for, in the shape its reports and panels understand.

A metric here looks up and shows; the definitions are in `shelves.py` and `engagement.py`. A panel draws one line per set of a metric's
parameters, so parameters name what is measured and never hold a value that changes from window to window.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from evidently import Dataset
from evidently._pydantic_compat import PrivateAttr
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context
from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter, table_data, text_widget
from evidently.metrics import ValueDrift

from monitoring.engagement import rates
from monitoring.shelves import MEASURES


class Rows(SingleValueMetric):  # type: ignore[misc]
    """Number of rows a report stands on, above a line that says what it is compared with (the report's metadata)."""

    part: str


class RowsCalculation(SingleValueCalculation[Rows]):  # type: ignore[misc]
    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        told = context.configuration.metadata
        result = self.result(int(told["rows"]))
        result.widget = [text_widget(title=f"{self.metric.part}, {told['window']}", text=str(told["note"]))]
        return result

    def display_name(self) -> str:
        return f"Rows: {self.metric.part}"


class DriftedShare(SingleValueMetric):  # type: ignore[misc]
    """Share of the report's judged columns that have drifted, beside a table of all of them, worst first. `part` names the columns."""

    part: str
    low_is_drift: bool = False
    _limits: dict[str, float] = PrivateAttr(default_factory=dict)

    def under(self, limits: Mapping[str, float]) -> "DriftedShare":
        """The metric with a threshold per column. They follow the number of rows, so they are no parameter (see above)."""
        self._limits = dict(limits)
        return self


class DriftedShareCalculation(SingleValueCalculation[DriftedShare]):  # type: ignore[misc]
    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        low = self.metric.low_is_drift
        rows = []
        for metric in context.configuration.items():
            if isinstance(metric, ValueDrift):
                score = float(context.calculate_metric(metric.to_calculation()).value)
                limit = self.metric._limits.get(metric.column, metric.threshold)
                rows.append((metric.column, score, limit, score < limit if low else score >= limit))
        rows.sort(key=lambda row: row[1], reverse=not low)
        drifted = sum(row[3] for row in rows)
        result = self.result(drifted / len(rows) if rows else 0.0)
        result.widget = [
            counter(title="", counters=[CounterData(f"of {len(rows)} columns have drifted: {self.metric.part}", str(drifted))]),
            table_data(
                title=f"Drift of {self.metric.part}",
                column_names=["column", "score", "threshold", "drifted"],
                data=[[name, f"{score:.3f}", f"{limit:.3f}", "yes" if over else "no"] for name, score, limit, over in rows],
            ),
        ]
        return result

    def display_name(self) -> str:
        return f"Share of drifted columns: {self.metric.part}"


class SteadyShare(SingleValueMetric):  # type: ignore[misc]
    """Columns that held, of 100 judged. For the UI's counters, which write "no value" for 0: here the good news is not 0."""

    part: str


class SteadyShareCalculation(SingleValueCalculation[SteadyShare]):  # type: ignore[misc]
    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        drifted = next(each for each in context.configuration.items() if isinstance(each, DriftedShare))
        result = self.result(100 * (1 - float(context.calculate_metric(drifted.to_calculation()).value)))
        result.widget = []
        return result

    def display_name(self) -> str:
        return f"Columns that held, of 100: {self.metric.part}"


class BrokenColumns(SingleValueMetric):  # type: ignore[misc]
    """Number of columns whose share of missing values rose by `jump` or more against the reference: a feed that stopped."""

    part: str
    jump: float


class BrokenColumnsCalculation(SingleValueCalculation[BrokenColumns]):  # type: ignore[misc]
    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        now = current_data.as_dataframe().isna().mean()
        before = reference_data.as_dataframe().isna().mean() if reference_data is not None else now
        rise = (now - before.reindex(now.index).fillna(0)).sort_values(ascending=False)
        broken = rise[rise >= self.metric.jump]
        result = self.result(len(broken))
        names = ", ".join(f"{name} (+{value:.0%})" for name, value in broken.items()) or "none"
        result.widget = [counter(title="", counters=[CounterData(f"columns with a jump in missing values: {names}", str(len(broken)))])]
        return result

    def display_name(self) -> str:
        return f"Columns with a jump in missing values: {self.metric.part}"


class ShelfMeasure(SingleValueMetric):  # type: ignore[misc]
    """A measure of all shelves of the window (`shelves.MEASURES`): a column of a frame with one row per window."""

    measure: str


class ShelfMeasureCalculation(SingleValueCalculation[ShelfMeasure]):  # type: ignore[misc]
    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> Any:
        current = self._mean(current_data)
        reference = self._mean(reference_data) if reference_data is not None else float("nan")
        result = self.result(current)
        told = f"{current:.4g}" if np.isnan(reference) else f"{current:.4g} (reference {reference:.4g})"
        result.widget = [counter(title="", counters=[CounterData(self.display_name(), told)], size=WidgetSize.HALF)]
        return result if np.isnan(reference) else (result, self.result(reference))

    def _mean(self, data: Dataset) -> float:
        frame = data.as_dataframe()
        return float(frame[self.metric.measure].mean()) if self.metric.measure in frame else float("nan")

    def display_name(self) -> str:
        return MEASURES[self.metric.measure].title


class GroupRate(SingleValueMetric):  # type: ignore[misc]
    """Answers per 100 showings of a group: `outcome` is a column of flags, `group` a value of the column `dimension`.

    Per 100, since the UI's counters round to two places.
    """

    outcome: str
    dimension: str
    group: str
    confidence: float


class GroupRateCalculation(SingleValueCalculation[GroupRate]):  # type: ignore[misc]
    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> Any:
        now = self._row(current_data)
        assert now is not None, f"no showings of {self.metric.dimension} {self.metric.group}"
        result = self.result(100 * float(now["rate"]))
        told = f"{now['rate']:.4f} [{now['lower']:.4f}, {now['upper']:.4f}], {now['answered']} of {now['shown']}"
        before = self._row(reference_data) if reference_data is not None else None
        if before is not None:
            told += f" (reference {before['rate']:.4f}, {before['answered']} of {before['shown']})"
        result.widget = [counter(title="", counters=[CounterData(self.display_name(), told)], size=WidgetSize.HALF)]
        return result if before is None else (result, self.result(100 * float(before["rate"])))

    def _row(self, data: Dataset) -> dict[str, Any] | None:
        found = rates(data.as_dataframe(), self.metric.outcome, self.metric.dimension, self.metric.confidence)
        found = found[found["group"] == self.metric.group]
        return None if found.empty else dict(found.iloc[0])

    def display_name(self) -> str:
        return f"{self.metric.outcome} by {self.metric.dimension}: {self.metric.group}"
