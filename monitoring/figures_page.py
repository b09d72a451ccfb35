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
                "| | " + " | ".join(name.upper().replace("_", "@") for name in MEASURES) + " |",
                "|---|---|---|---|---|",
            )
            for method, slices in report["figures"].items():
                yield f"| {method} | " + " | ".join(f"{slices[part][name]:.4f}" for name in MEASURES) + " |"
    yield ""


def main() -> None:
    PAGE.write_text(page())
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
