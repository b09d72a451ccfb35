"""The figures within docs/recommendation.md, from the reports in reports/: `python -m monitoring.figures_page` writes them between their marks."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REPORTS, PAGE = ROOT / "reports", ROOT / "docs" / "recommendation.md"
PUBLISHED = {"ndcg@10": (0.0531, "SASRec with sampled softmax"), "hr@10": (0.0928, "eSASRec")}
"""Best published results on the Beauty file, leave-one-out."""
FIRST_TIME = "first-time, nothing else shown"
POLICIES = {
    "no rules": "no rules", "as served, no spread": "stock and dislikes, no spread", "category at most 50%": "… with a category at most 50 %",
    "MMR 0.05": "… with MMR 0.05", "MMR 0.1": "… with MMR 0.1", "calibrated 0.1": "… calibrated 0.1",
}  # fmt: skip
SHOPS = {"online_retail": "online_retail", "demo": "demo (SIMULATED)"}


def good() -> Iterator[str]:
    """The full stack beside what is best without it."""
    report = _read("amazon_beauty_leave_one_out")
    alone = {name: figures for name, figures in report["models"].items() if name != "full stack"}
    yield "| | full stack | best alone | best published |"
    yield "|---|---|---|---|"
    for name, (value, who) in PUBLISHED.items():
        best = max(alone, key=lambda method: alone[method][f"valid_{name}"])
        mine, spread = report["figures"][f"test_{name}"], report["spread"][f"test_{name}"]
        yield (
            f"| amazon_beauty, leave-one-out, {name.upper()}, {len(report['seeds'])} seeds | **{mine:.4f}** ± {spread:.4f} | "
            f"{alone[best][f'test_{name}']:.4f} ({best}) | {value:.4f} ({who}) |"
        )
    for shop, title in SHOPS.items():
        slices = _read(shop)["slices"]
        for part in slices["slices"]:
            if part["kind"] == "all" or part["name"] == FIRST_TIME:
                about = "all targets" if part["kind"] == "all" else "targets new to the customer, nothing else shown"
                (_, mine), (best, other) = list(part["methods"].items())[:2]
                lead = part["lead"]["ndcg_10"]
                yield (
                    f"| {title}, NDCG@10, {about} | **{mine['ndcg_10']['value']:.4f}** | {other['ndcg_10']['value']:.4f} ({best}), "
                    f"lead {lead['value']:+.4f} [{lead['low']:+.4f}, {lead['high']:+.4f}] | |"
                )
    lost = sum(map(len, report["slices_lost"].values())) + sum(len(part["lost"]) > 0 for shop in SHOPS for part in _read(shop)["slices"]["slices"])
    yield ""
    yield f"Slices of 500 targets or more in which the best method alone is better by more than 5 %, interval below 0: {lost}."
    for shop, title in SHOPS.items():
        figures = _read(shop)["figures"]
        with_it, without = (figures[method]["all"]["ndcg_10"] for method in ("ranker", "ranker, nothing blended in"))
        yield f"On {title} the trees alone, with nothing blended in, are at {without:.4f} on the whole, and at {with_it:.4f} with the blend."
    cost = report["figures"]
    yield (
        f"On Beauty the full stack takes {cost['fit_minutes']:.1f} minutes per seed to fit and {cost['score_ms_per_user']:.1f} ms per user to "
        f"score ({report['machine']})."
    )


def parts() -> Iterator[str]:
    """What leaving out each part costs."""
    report = _read("amazon_beauty_ablation")
    yield "| left out | NDCG@10 lost | standard error |"
    yield "|---|---|---|"
    for name, loss in sorted(report["ablation"].items(), key=lambda each: -each[1]["lost"]):
        yield f"| {name.removeprefix('without ').replace('_', ' ')} | {loss['lost']:+.4f} | {loss['error']:.4f} |"


def policies() -> Iterator[str]:
    """What each spread costs and brings on the tuning periods."""
    yield "| policy | " + " | ".join(f"{title}, tuning | " for title in SHOPS.values()) + "|"
    yield "|---|" + "---|" * (2 * len(SHOPS))
    rows = {shop: {row["name"]: row for row in _read(shop)["rules"]["tuning"]} for shop in SHOPS}
    for name, title in POLICIES.items():
        values = [f"{rows[shop][name]['ndcg']:.4f} | {rows[shop][name]['diversity']:.3f}" for shop in SHOPS]
        yield f"| {title} | " + " | ".join(values) + " |"


def exploration() -> Iterator[str]:
    """What drawn places cost and bring on the test periods."""
    yield "| drawn places of ten | " + " | ".join(f"{title}: NDCG@10 | coverage" for title in SHOPS.values()) + " |"
    yield "|---|" + "---|" * (2 * len(SHOPS))
    rows = {shop: {row["name"]: row for row in _read(shop)["rules"]["test"]} for shop in SHOPS}
    for count in range(3):
        values = [f"{rows[shop][f'exploration {count}']['ndcg']:.4f} | {rows[shop][f'exploration {count}']['coverage']:.1%}" for shop in SHOPS]
        yield f"| {count} | " + " | ".join(values) + " |"


BLOCKS: Mapping[str, Callable[[], Iterator[str]]] = {"good": good, "parts": parts, "policies": policies, "exploration": exploration}
"""Name of a mark -> its lines."""


def page() -> str:
    """docs/recommendation.md with what stands between `<!-- figures: NAME -->` and `<!-- end -->` made anew."""

    def made(found: re.Match[str]) -> str:
        return "\n".join([found[1], *BLOCKS[found[2]](), "<!-- end -->"])

    return re.sub(r"(<!-- figures: (\w+) -->).*?<!-- end -->", made, PAGE.read_text(), flags=re.DOTALL)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REPORTS / f"{name}.json").read_text())
    return found
