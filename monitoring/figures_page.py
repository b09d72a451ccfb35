"""`python -m monitoring.figures_page`: writes docs/figures.md from the measured figures in reports/.

`tests/test_figures_docs.py` fails while the page says anything else than the reports do.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monitoring.demo import table

ROOT = Path(__file__).parents[1]
REPORTS, PAGE = ROOT / "reports", ROOT / "docs" / "figures.md"
MEASURES = ("hr_10", "ndcg_10", "mrr_10", "map_10")
SLICES = {"all": "All targets", "repeat": "Repeat targets (bought before by this customer)", "new": "New-to-customer targets"}
SHOPS = {
    "online_retail": "A real UK gift shop that sells to regular customers, who mostly buy again.",
    "amazon_beauty": "Reviews as purchases; no prices, no descriptions. Split by time, so not comparable with published leave-one-out figures.",
    "demo": "SIMULATED: this shop does not exist ([simulator.md](simulator.md)). It needs no `DATA=`.",
}
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
        FileNotFoundError: a report is missing.
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
    yield f"Tested on {test}, tuned on {tuned}; targets are {report['targets']}. The ranker has {report['trees']} trees."
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
    yield from _slices(report.get("slices", {}))
    yield from _behaviour(report.get("behaviour", {}))


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


def _interval(estimate: Mapping[str, float], sign: str = "") -> str:
    return f"{estimate['value']:{sign}.4f} [{estimate['low']:{sign}.4f}, {estimate['high']:{sign}.4f}]"


def _name(measure: str) -> str:
    return measure.upper().replace("_", "@")


def main() -> None:
    PAGE.write_text(page())
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
