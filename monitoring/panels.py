"""The three dashboards as code: which panels each has, in the order in which a person of ops needs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from evidently.sdk.models import DashboardModel, DashboardPanelPlot, DashboardTabModel, PanelMetric
from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel, text_panel

from monitoring.reports import ALL
from monitoring.shelves import MEASURES

NAMESPACE = UUID("5a0c1d5e-7d0b-4c55-9a6e-3f1f0f7f5d11")
"""Ids of projects, panels and snapshots are derived from their names under this one, so that a second refresh writes the same files."""

FEATURES, RECOMMENDATIONS, ENGAGEMENT = "features", "recommendations", "engagement"
USERS, PAIRS = "user features", "ranking features"
SHELF, MEASURED, SHOWN = "shelf", "measures", "showings"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard is a project of Evidently's workspace. `parts`: its kinds of report."""

    panel: str
    title: str
    description: str
    parts: tuple[str, ...]

    @property
    def id(self) -> UUID:
        return uuid5(NAMESPACE, self.panel)


DASHBOARDS = (
    Dashboard(FEATURES, "1 Feature drift", "Do users and products look as they did when the reference was taken?", (USERS, PAIRS)),
    Dashboard(
        RECOMMENDATIONS, "2 Recommendation drift", "Are the shelves as they were: scores, categories, prices, variety, fallbacks?", (SHELF, MEASURED)
    ),
    Dashboard(
        ENGAGEMENT, "3 Content engagement drift", "How do shoppers answer what they are shown, by channel, tone, aspect and version?", (SHOWN,)
    ),
)


@dataclass(frozen=True)
class Known:
    """What the panels can name, read from the findings.

    `columns`: part -> columns with a drift score, those that drifted most first. `groups`: (outcome, dimension) -> groups, most shown first.
    `categories`: most shown first. `measures`: keys of `MEASURES` that have values.
    `panels`: those with a report. `messages`: panel -> the line under its dashboard's title.
    """

    columns: dict[str, list[str]]
    groups: dict[tuple[str, str], list[str]]
    categories: list[str]
    measures: list[str]
    panels: set[str]
    messages: dict[str, str]


def dashboard_of(dashboard: Dashboard, known: Known) -> DashboardModel:
    """The dashboard's panels. One without anything to draw is left out; the first always says what it all stands on.

    Evidently's own UI shows all panels below each other, without tabs, so a section begins with a line of text instead.
    """
    sections = {FEATURES: _features, RECOMMENDATIONS: _recommendations, ENGAGEMENT: _engagement}[dashboard.panel](known)
    panels = [text_panel(title=dashboard.description, description=known.messages.get(dashboard.panel, ""))]
    for title, own in sections:
        drawn = [panel for panel in own if panel.values]
        if drawn:
            panels += [text_panel(title=title), *drawn] if title else drawn
    for panel in panels:
        panel.id = uuid5(dashboard.id, panel.title)
    tab = DashboardTabModel(id=uuid5(dashboard.id, "tab"), title=dashboard.title, panels=[panel.id for panel in panels])
    return DashboardModel(tabs=[tab], panels=panels)


Sections = list[tuple[str, list[DashboardPanelPlot]]]


def _metric(metric: str, tag: str, legend: str, **labels: str) -> PanelMetric:
    return PanelMetric(legend=legend, metric=metric, metric_labels=labels, tags=[tag])


def _features(known: Known) -> Sections:
    judged = [part for part in (USERS, PAIRS) if known.columns.get(part)]
    share = [_metric("DriftedShare", part, part, part=part) for part in judged]
    broken = [_metric("BrokenColumns", part, part, part=part) for part in judged]
    rows = [_metric("Rows", part, part, part=part) for part in (USERS, PAIRS) if FEATURES in known.panels]
    overview = [
        *(counter_panel(f"Steady {part}, of 100, last window", [_metric("SteadyShare", part, part, part=part)], size="half") for part in judged),
        line_plot_panel("Share of features that drifted", share, "Near 0: nothing to do. A step up: see below which features it is."),
        line_plot_panel(
            "Features whose missing values jumped", broken, "Above 0: a feed has probably stopped. Check ingestion before anything else."
        ),
        bar_plot_panel("Rows behind each window", rows, "Few rows judge little."),
    ]
    return [("", overview), *((part.capitalize(), _scores(part, known.columns[part])) for part in judged)]


def _scores(part: str, columns: Sequence[str], lines: int = 6, most: int = 24) -> list[DashboardPanelPlot]:
    """Drift scores, `lines` to a panel, the columns that drifted most first."""
    chunks = [columns[start : start + lines] for start in range(0, min(len(columns), most), lines)]
    return [
        line_plot_panel(
            f"Drift score, {part} {number * lines + 1} to {number * lines + len(chunk)} by highest score",
            [_metric("ValueDrift", part, name, column=name) for name in chunk],
        )
        for number, chunk in enumerate(chunks)
    ]


def _measure(known: Known, *names: str) -> list[PanelMetric]:
    return [_metric("ShelfMeasure", MEASURED, MEASURES[name].title, measure=name) for name in names if name in known.measures]


def _recommendations(known: Known) -> Sections:
    names = [name for name in ("score", "category", "price", "rank") if name in known.columns.get(SHELF, [])]
    health = [
        counter_panel("Answers given in full, of 100, last window", _measure(known, "full"), size="half"),
        counter_panel("Catalogue coverage, last window", _measure(known, "coverage"), size="half"),
        line_plot_panel(
            "Degraded and empty answers, and copy from templates",
            _measure(known, "degraded", "empty", "template"),
            "Shares. A rise means that models, features or the writer failed and fallbacks answered.",
        ),
        line_plot_panel(
            "Drift of scores, categories and prices",
            [_metric("ValueDrift", SHELF, name, column=name) for name in names],
            "Scores alone: a new model. Categories or prices: catalogue or taste has changed.",
        ),
        bar_plot_panel("Answers journaled", [_metric("Rows", MEASURED, "decisions", part=MEASURED)] if RECOMMENDATIONS in known.panels else []),
    ]
    variety = [
        line_plot_panel("Coverage of the catalogue, concentration, diversity of a shelf", _measure(known, "coverage", "concentration", "diversity")),
        bar_plot_panel(
            "Categories shown, share of items",
            [_metric("CategoryCount", SHELF, name, column="category", categories=str([name]), value_type="share") for name in known.categories],
            stacked=True,
        ),
        line_plot_panel("Products per shelf", _measure(known, "length"), size="half"),
        line_plot_panel("Categories shown, number", _measure(known, "categories"), size="half"),
    ]
    values = [
        line_plot_panel("Mean price shown", _measure(known, "price"), size="half"),
        line_plot_panel("Mean score shown", _measure(known, "score"), size="half"),
        line_plot_panel("Median time to answer, ms", _measure(known, "latency")),
    ]
    return [("", health), ("Variety", variety), ("Values and speed", values)]


def _rate(known: Known, outcome: str, dimension: str) -> list[PanelMetric]:
    return [
        _metric("GroupRate", SHOWN, "everything" if dimension == ALL else group, outcome=outcome, dimension=dimension, group=group)
        for group in known.groups.get((outcome, dimension), [])
    ]


def _engagement(known: Known) -> Sections:
    overview = [
        counter_panel("Clicks per 100 showings, last window", _rate(known, "clicked", ALL), size="half"),
        counter_panel("Purchases per 100 showings, last window", _rate(known, "purchased", ALL), size="half"),
        line_plot_panel("Click rate by channel", _rate(known, "clicked", "channel"), "Clicks per 100 showings."),
        line_plot_panel("Conversion by channel", _rate(known, "purchased", "channel"), "Purchases that name the showing, per 100 showings."),
        line_plot_panel("Dismissals by channel", _rate(known, "dismissed", "channel"), "Per 100 showings.", size="half"),
        line_plot_panel("Unsubscribes by channel", _rate(known, "unsubscribed", "channel"), "Per 100 showings.", size="half"),
        bar_plot_panel("Showings", [_metric("Rows", SHOWN, "showings", part=SHOWN)] if ENGAGEMENT in known.panels else []),
    ]
    copy = [
        line_plot_panel("Click rate by tone", _rate(known, "clicked", "tone"), "Of the copy that was shown; (none) is a showing without copy."),
        line_plot_panel("Click rate by aspect", _rate(known, "clicked", "aspect"), "The first aspect that the copy speaks of."),
        line_plot_panel("Click rate by how the copy was made", _rate(known, "clicked", "backend")),
        line_plot_panel(
            "Drift of what is shown: channel, tone, aspect, version",
            [_metric("ValueDrift", SHOWN, name, column=name) for name in known.columns.get(SHOWN, [])],
            "High while rates are steady: the mix has changed, not the answer to it.",
        ),
    ]
    versions = [
        line_plot_panel("Click rate by version of the writer", _rate(known, "clicked", "writer")),
        line_plot_panel("Click rate by version of the ranker", _rate(known, "clicked", "ranker")),
        line_plot_panel("Conversion by version of the ranker", _rate(known, "purchased", "ranker")),
        line_plot_panel("Click rate by arm of an experiment", _rate(known, "clicked", "arm")),
        line_plot_panel("Conversion by arm of an experiment", _rate(known, "purchased", "arm")),
    ]
    return [("", overview), ("Copy", copy), ("Versions and arms", versions)]
