"""`python -m monitoring.figures_page`: writes docs/figures.md, and the figures within docs/recommendation.md, from the measured ones in reports/.

`tests/test_figures_docs.py` fails while a page says anything else than the reports do.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monitoring import recommendation_figures
from monitoring.demo import table

ROOT = Path(__file__).parents[1]
REPORTS, PAGE = ROOT / "reports", ROOT / "docs" / "figures.md"
BEYOND = ("coverage", "gini", "diversity", "novelty", "popularity", "popularity_lift", "calibration")
MEASURES = ("hr_10", "ndcg_10", "mrr_10", "map_10")
SLICES = {"all": "All targets", "repeat": "Repeat targets (bought before by this customer)", "new": "New-to-customer targets"}
SHOPS = {
    "online_retail": "A real UK gift shop that sells to regular customers, who mostly buy again.",
    "amazon_beauty": "Reviews as purchases; no prices, no descriptions. Split by time, so not comparable with published leave-one-out figures.",
    "demo": "SIMULATED: this shop does not exist ([simulator.md](simulator.md)). It needs no `DATA=`.",
}
BENCHMARKS = {
    "amazon_beauty_leave_one_out": (
        "amazon_beauty, leave-one-out",
        "ranking --data <folder>",
        "The protocol of published results: the last item of each of 22,363 users, ranked among all 12,101. Best published: NDCG@10 .0531 (SASRec "
        "with sampled softmax), HR@10 .0928 (eSASRec); both know the file's order within a day, which is drawn anew here.",
    ),
    "amazon_beauty_ablation": (
        "amazon_beauty, what each part adds",
        "ranking --data <folder>",
        "Leave-one-out as above, its first seed.",
    ),
    "amazon_beauty_by_time": (
        "amazon_beauty, by time",
        "ranking --protocol time --data <folder>",
        "Everything before a day is known, what was taken from then on is wanted.",
    ),
    "ciao": (
        "ciao, what social ties add",
        "social --data <folder>",
        "Ratings and a trust network without times: a seeded random hold-out; the same ratings with ties, without, and with strangers instead.",
    ),
}
"""Report -> title, command, what it is."""
CUTS = ("hr@5", "ndcg@5", "hr@10", "ndcg@10", "hr@20", "ndcg@20", "mrr")
SIMULATED = "demo_simulated"
BEHAVIOUR = {
    "similar_lists_lower": "similar histories: more of the first ten in common than two people drawn at random",
    "dislike_falls_lower": "a stated dislike: how far its category falls, share of the list",
    "complement_rises_lower": "a purchase: how far a complement rises, share of the list",
    "new_user_popularity": "somebody unknown: products that fewer users took than what is shown, mean share",
    "empty_lists": "empty lists",
}


def page() -> str:
    """The whole of docs/figures.md.

    Raises:
        FileNotFoundError: the report of a shop is missing. A benchmark without one has no section.
    """
    lines = [
        "# Figures",
        "",
        "Measured by the commands that stand above them, from the reports in `reports/`; `python -m monitoring.figures_page` writes this page.",
    ]
    lines += ["How a period is held out, what is tuned on what and what the measures mean: [models.md](models.md).", ""]
    for shop, about in SHOPS.items():
        lines += [f"## {shop}", "", f"`make train SHOP={shop} DATA=<folder> ARGS='--report reports/{shop}.json'`", "", about]
        lines += [*_ranking(json.loads((REPORTS / f"{shop}.json").read_text()))]
    for name, (title, command, about) in BENCHMARKS.items():
        if not (REPORTS / f"{name}.json").exists():
            continue
        report = json.loads((REPORTS / f"{name}.json").read_text())
        command += f" --seeds {len(report['seeds'])}" + (" --ablation" if report.get("ablation") else "")
        lines += [f"## {title}", "", f"`python -m training.benchmark {command} --out reports/{name}.json`", "", about, ""]
        told = _social if name == "ciao" else _ablation if report.get("ablation") else _benchmark
        lines += [*told(report)]
    found = json.loads((REPORTS / f"{SIMULATED}.json").read_text())
    lines += [
        "## Two simulated weeks with the running service",
        "",
        f"`make demo ARGS='--shoppers {found['shoppers']} --out reports/{SIMULATED}.json'`",
    ]
    lines += ["([simulator.md](simulator.md) says how shoppers answer):", "", "```", table(found), "```", ""]
    return "\n".join(lines)


def _ranking(report: Mapping[str, Any]) -> Iterator[str]:
    tuned, test = (f"{since[:10]} to {until[:10]}" for since, until in (report["tuned_on"], (report["test_from"], report["test_until"])))
    yield f"Tested on {test}, tuned on {tuned}; targets are {report['targets']}. The ranker has {report['trees']} trees{_blend(report)}."
    if "fit_minutes" in report:
        yield f"Features and recommender take {report['fit_minutes']:.1f} minutes to fit ({report['machine']}, commit {report['commit'][:7]})."
    for part, title in SLICES.items():
        users = max(int(slices[part]["users"]) for slices in report["figures"].values())
        if users:
            yield from (
                "",
                f"{title}, {users:,} users:",
                "",
                "| | " + " | ".join(map(_name, MEASURES)) + " |",
                "|---|---|---|---|---|",
            )
            for method, slices in report["figures"].items():
                yield f"| {method} | " + " | ".join(f"{slices[part][name]:.4f}" for name in MEASURES) + " |"
    yield ""
    yield from _beyond(report["figures"])
    yield from _slices(report.get("slices", {}))
    yield from _behaviour(report.get("behaviour", {}))
    yield from _rules(report.get("rules", {}))


def _blend(report: Mapping[str, Any]) -> str:
    """What is blended into them, for a report that tells it."""
    blend = report.get("blend", {})
    if not blend.get("retriever"):
        return ""
    lifts = ", ".join(
        f"{name.removeprefix('category:')} {lift:.2f}" for name, lift in sorted(blend["lifts"].items(), key=lambda each: -each[1]) if lift > 0.005
    )
    return f"; {blend['weight']:g} of {blend['retriever']} is blended in, with lifts for {lifts or 'nothing'}"


def _beyond(figures: Mapping[str, Any]) -> Iterator[str]:
    """What hits don't tell."""
    rows = {method: slices["all"] for method, slices in figures.items() if all(f"{name}_10" in slices["all"] for name in BEYOND)}
    if rows:
        yield from ("Beyond accuracy, first ten places:", "", "| | " + " | ".join(name.replace("_", " ") for name in BEYOND) + " |")
        yield "|---|" + "---|" * len(BEYOND)
        for method, found in rows.items():
            yield f"| {method} | " + " | ".join(f"{found[f'{name}_10']:.4g}" for name in BEYOND) + " |"
        yield ""


def _rules(found: Mapping[str, Any]) -> Iterator[str]:
    """What each rule of a shelf costs; nothing for a report that has none."""
    periods = [period for period in ("tuning", "test") if found.get(period)]
    if not periods:
        return
    measures = {"ndcg": "NDCG@10", "diversity": "categories", "coverage": "coverage"}
    yield "What each rule of a shelf costs and brings ([recommendation.md](recommendation.md)); categories are distinct ones per product shown:"
    yield from ("", "| policy | " + " | ".join(f"{period}: {title}" for period in periods for title in measures.values()) + " | kept off, test |")
    yield "|---|" + "---|" * (len(periods) * len(measures) + 1)
    for rows in zip(*(found[period] for period in periods), strict=True):
        values = [f"{row[name]:.4f}" if name == "ndcg" else f"{row[name]:.3f}" for row in rows for name in measures]
        kept_off = ", ".join(f"{rule} {share:.1%}" for rule, share in rows[-1]["removed"].items())
        yield f"| {rows[0]['name']} | " + " | ".join(values) + f" | {kept_off} |"
    yield ""


def _benchmark(report: Mapping[str, Any]) -> Iterator[str]:
    cost = report["figures"]
    took = f"{cost['fit_minutes']:.1f} minutes to fit and {cost['score_ms_per_user']:.1f} ms per user to score"
    yield f"{_seeds(report)}. The full stack takes {took}, features read from Feast; the run held at most"
    yield f"{cost['peak_gb']:.1f} GB ({report['machine']}, commit {report['commit'][:7]})."
    for part, title in (("test", "Test"), ("valid", "Validation")):
        yield from ("", f"{title}:", "", "| | " + " | ".join(name.upper() for name in CUTS) + " |", "|---|" + "---|" * len(CUTS))
        for method, figures in report["models"].items():
            yield f"| {method} | " + " | ".join(f"{figures[f'{part}_{name}']:.4f}" for name in CUTS) + " |"
    spread = report["spread"]
    yield ""
    yield (
        "Spread of the full stack over seeds (standard deviation): "
        + ", ".join(f"{name} {spread[name]:.4f}" for name in ("test_hr@10", "test_ndcg@10", "valid_hr@10", "valid_ndcg@10"))
        + "."
    )
    yield ""
    yield from _slices(report.get("slices", {}))


def _ablation(report: Mapping[str, Any]) -> Iterator[str]:
    yield "One thing left out and the ranker fitted again, on the validation targets of the first seed; what NDCG@10 loses by it, with its standard"
    yield f"error (everything: {report['figures']['valid_ndcg@10']:.4f}; {report['machine']}, commit {report['commit'][:7]}):"
    yield from ("", "| | NDCG@10 | lost | error |", "|---|---|---|---|")
    for name, loss in report["ablation"].items():
        yield f"| {name} | {loss['figure']:.4f} | {loss['lost']:+.4f} | {loss['error']:.4f} |"
    yield ""


def _social(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_seeds(report)} ({report['machine']}, commit {report['commit'][:7]})."
    for part, methods in report["figures"].items():
        yield from ("", f"{part}, {methods['people']:,.0f} people:", "", "| | HR@10 | NDCG@10 | HR@20 | NDCG@20 |", "|---|---|---|---|---|")
        for method, found in methods.items():
            if method != "people":
                yield f"| {method} | " + " | ".join(f"{found[name]:.4f}" for name in ("hr@10", "ndcg@10", "hr@20", "ndcg@20")) + " |"
    yield from ("", "What it adds to NDCG@10 of the full stack, with 95 % intervals over people:", "", "| | | |", "|---|---|---|")
    for what, parts in report["added"].items():
        for part, each in parts.items():
            found = each["ndcg@10"]
            yield f"| {what} | {part} | {found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}] |"
    yield ""


def _slices(found: Mapping[str, Any]) -> Iterator[str]:
    """Nothing for a report that has none."""
    if not found.get("slices"):
        return
    ranker, baseline = found["stack"], found["baseline"]
    for cold, title in ((False, "Slices"), (True, "Cold start")):
        parts = [part for part in found["slices"] if (part["kind"] == "cold start") is cold]
        if not parts:
            continue
        methods = list(dict.fromkeys(method for part in parts for method in part["methods"]))
        yield f"{title}, NDCG@10 with 95 % intervals over users; the lead of the {ranker} is over {baseline}, the best alone in the tuning period:"
        yield from ("", "| | users | targets | " + " | ".join(methods) + " | lead |", "|---|---|---|" + "---|" * (len(methods) + 1))
        for part in parts:
            name = part["name"] if part["kind"] in ("all", "cold start") else f"{part['kind']}: {part['name']}"
            values = [_interval(part["methods"][method]["ndcg_10"]) if method in part["methods"] else "" for method in methods]
            lead = _interval(part["lead"]["ndcg_10"], "+") + (f", **lost** by {' and '.join(map(_name, part['lost']))}" if part["lost"] else "")
            yield f"| {name} | {part['users']:,} | {part['targets']:,} | " + " | ".join(values) + f" | {lead} |"
        yield ""
    cuts = {name: int(value) for name, value in found["cuts"].items()}
    yield f"Light users had taken up to {cuts['light_up_to']} products, heavy ones more than {cuts['heavy_above']}."
    yield f"The head is {cuts['head_products']:,} products."
    yield ""


def _behaviour(found: Mapping[str, float]) -> Iterator[str]:
    """Nothing for a report that has none."""
    if not found:
        return
    yield from ("Behavioural tests (lower ends of one-sided 95 % intervals; what they mean: [models.md](models.md)):", "", "| | |", "|---|---|")
    for metric, title in BEHAVIOUR.items():
        few = found.get(f"{metric.removesuffix('_lower')}_people", 0.0)
        yield f"| {title} | " + (f"{found[metric]:.4f}" if metric in found else f"not tried, {few:.0f} people could be asked") + " |"
    yield ""


def _seeds(report: Mapping[str, Any]) -> str:
    count = len(report["seeds"])
    return f"Mean of {count} seeds" if count > 1 else "One seed"


def _interval(estimate: Mapping[str, float], sign: str = "") -> str:
    return f"{estimate['value']:{sign}.4f} [{estimate['low']:{sign}.4f}, {estimate['high']:{sign}.4f}]"


def _name(measure: str) -> str:
    return measure.upper().replace("_", "@")


def main() -> None:
    for file, text in ((PAGE, page()), (recommendation_figures.PAGE, recommendation_figures.page())):
        file.write_text(text)
        print(f"Wrote {file}")


if __name__ == "__main__":
    main()
