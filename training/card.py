"""The model card of a retriever or ranker run (Mitchell et al. 2019): Markdown, made of what the run measured and of nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from feature_repo.declarations import RETRIEVERS
from feature_repo.vectors import PRODUCT_SCALARS, USER_SCALARS
from training.evaluate import BEYOND, K, Report
from training.evaluation.slices import FEWEST_TARGETS, MARGIN, Estimate, Sliced
from training.gates import Gate
from training.registry import ModelFolder, RunFacts

WHAT = {
    "retriever": f"{len(RETRIEVERS)} retrievers and the profile: they propose the products that the ranker puts into order.",
    "ranker": "Gradient-boosted trees that put the retrievers' proposals for one shopper into order (LambdaMART).",
}
LIST = {"retriever": "each retriever's own first products", "ranker": "the ranker's order of all candidates"}


@dataclass(frozen=True)
class Data:
    """What a run was trained and measured on. Periods are (from, until) in ISO time; `kind` is the type of event that counts as a target."""

    shop: str
    simulated: bool
    kind: str
    events: int
    users: int
    products: int
    tuned: tuple[str, str]
    tested: tuple[str, str]
    repeat_buying: bool


def card(model: ModelFolder, facts: RunFacts, data: Data, report: Report, found: Sliced, judged: Sequence[Gate]) -> str:
    """The whole card. `judged` are the model's gates with the numbers behind them."""
    meta = model.meta
    lines = [f"# Model card: {meta.kind} of shop '{data.shop}'", ""]
    if data.simulated:
        lines += ["**SIMULATED: this shop and its shoppers do not exist. The figures say nothing about real people.**", ""]
    lines += ["## Model", "", WHAT[meta.kind], "", *_rows(_model(model, facts)), "", "Settings and parameters:", "", *_rows(meta.params), ""]
    lines += [
        "## Intended use",
        "",
        "To order products of this shop for its own shoppers, on its pages and in its letters, behind the shop's rules (stock, dislikes, spread).",
        "Not for other shops (identifiers, counts and prices are this shop's), not for judging people, and for nothing but the order of products:",
        "scores of one request compare with each other and with nothing else.",
        "",
        "## Data",
        "",
        *_rows(_data(model, facts, data)),
        "",
        f"Parameters were chosen on the tuning period; figures were measured on the test period by models that had not seen it ({LIST[meta.kind]}).",
        "What is registered was fitted again on everything, the test period included, so its own figures are not known.",
        "",
        "## Figures",
        "",
        *_figures(report),
        "",
        "## Slices",
        "",
        *_slices(found),
        "",
        "## Behavioural tests and gates",
        "",
        *(f"- {'passed' if gate.passed else '**failed**'}: {gate.name} ({gate.reason})" for gate in judged),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _limits(data, report, found)),
        "",
        "## Fairness and privacy",
        "",
        *(f"- {remark}" for remark in _remarks(meta.kind)),
        "",
    ]
    return "\n".join(lines)


def _rows(values: Mapping[str, object]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, value in values.items():
        yield f"| {name} | {value} |"


def _model(model: ModelFolder, facts: RunFacts) -> dict[str, object]:
    meta = model.meta
    return {
        "kind": f"{meta.kind} ({meta.name})",
        "content": model.version,
        "code": facts.commit,
        "pinned packages": facts.constraints_hash,
        "features": f"{meta.feature_service} {meta.feature_fingerprint}",
        **{f"needs {part}": version for part, version in meta.requires.items()},
        "seed": meta.seed,
    }


def _data(model: ModelFolder, facts: RunFacts, data: Data) -> dict[str, object]:
    return {
        "events": f"{data.events:,} of {data.users:,} known users, {data.products:,} products in the catalogue",
        "window": " to ".join(model.meta.window),
        "hash of the tables": facts.data_hash,
        "tuning period": " to ".join(data.tuned),
        "test period": " to ".join(data.tested),
        "targets": f"distinct products of events of type '{data.kind}' in the test period"
        + ("" if data.repeat_buying else ", without what the user had taken before"),
    }


def _figures(report: Report) -> Iterator[str]:
    names = [f"{measure}_{K}" for measure in ("hr", "ndcg", "mrr", "map", *BEYOND)]
    users = max((int(slices["all"]["users"]) for slices in report.values()), default=0)
    yield f"Means over {users:,} users with an earlier act."
    if not users:
        return
    yield from ("", "| | " + " | ".join(name.removesuffix(f"_{K}").replace("_", " ") for name in names) + " |", "|---|" + "---|" * len(names))
    for method, slices in report.items():
        yield f"| {method} | " + " | ".join(f"{slices['all'][name]:.4f}" for name in names) + " |"


def _slices(found: Sliced) -> Iterator[str]:
    if not found.slices:
        yield "Nobody acted in the test period, so there are none."
        return
    yield f"NDCG@{K} with 95 % intervals over resampled users. The baseline is {found.baseline}, the best single method of the tuning period."
    yield f"A slice of {FEWEST_TARGETS} targets or more is lost if the baseline leads by more than {MARGIN:.0%} and the lead's interval is below 0."
    methods = list(dict.fromkeys(method for part in found.slices for method in part.methods))
    yield from ("", "| slice | users | targets | " + " | ".join(methods) + " | lead | |", "|---|---|---|" + "---|" * (len(methods) + 2))
    for part in found.slices:
        shown = [_text(part.methods[method][f"ndcg_{K}"]) if method in part.methods else "" for method in methods]
        lost = f"lost: {', '.join(part.lost)}" if part.lost else ""
        yield f"| {part.title} | {part.users:,} | {part.targets:,} | " + " | ".join(shown) + f" | {_text(part.lead[f'ndcg_{K}'], '+')} | {lost} |"


def _text(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"


def _limits(data: Data, report: Report, found: Sliced) -> Iterator[str]:
    yield "Measured on what people did without being shown these lists: what they would have done with them is not known."
    yield f"One test period, {' to '.join(data.tested)}: what happens in other seasons is not in the figures; intervals are over users, not periods."
    yield "Products that are shown first are clicked more; this position bias is not corrected."
    few = [part.title for part in found.slices if part.targets < FEWEST_TARGETS]
    if few:
        yield f"Fewer than {FEWEST_TARGETS} targets, so not judged: {'; '.join(few)}."
    if found.lost:
        yield f"The baseline wins in: {'; '.join(found.lost)}."
    ours = report.get(found.stack, {}).get("all", {})
    if f"coverage_{K}" in ours:
        yield f"{1 - ours[f'coverage_{K}']:.0%} of the catalogue stands in nobody's first {K}."
    if f"popularity_lift_{K}" in ours:
        lift = ours[f"popularity_lift_{K}"]
        yield f"What is shown is {abs(lift):.0%} {'more' if lift >= 0 else 'less'} popular than what the same users had taken."


def _remarks(kind: str) -> Iterator[str]:
    yield "Users are pseudonyms (HMAC-SHA-256 with the shop's key); names, addresses and contacts are not read in training."
    if kind == "ranker":
        numbers = f"{len(USER_SCALARS)} numbers of the user, {len(PRODUCT_SCALARS)} of the product"
        yield f"Inputs are {numbers} and those of the pair: acts, ties, stated preferences."
    yield "Age, gender, origin and health are no inputs; what somebody buys can still speak of them, and nobody has measured how much."
    yield "Whether groups of people are served equally well is not known beyond the slices above: the shop's tables name no such groups."
    yield "Follows and groups of other people enter the lists where the shop has them; only counts of them are kept in features."
