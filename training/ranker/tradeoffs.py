"""What each rule of a shelf costs and brings: the ranker's order under one rule at a time, against what people did afterwards.

`rows` takes an audience that was scored once and makes its shelves anew under every policy, which takes about a second per 10,000 shelves. Stock,
price and what was bought are read from the ranker's own rows, as of the moment; vetoes from the person's interests, where a category counts as
the product has it (serving knows wider ones, and disliked products, too).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from feature_repo.vectors import RANKER_FEATURES
from training.dataset import Person, Scored
from training.evaluate import K, ndcgs
from training.ranker.policy import NO_RULES, RULES, Choice, Offers, ShelfPolicy, choose, draw_of
from training.ranker.wishes import vetoes, wanted_of, wanted_shares
from training.retrieval.contract import Products

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Index = NDArray[np.int32]

CATEGORY_SHARES = (0.3, 0.2)
MMR_STRENGTHS = (0.02, 0.05, 0.1, 0.3, 0.5)
CALIBRATION_STRENGTHS = (0.02, 0.05, 0.1, 0.3, 0.5)
EXPLORATION_SLOTS = (0, 1, 2)
MIDDLE = (0.25, 0.75)
"""Quantiles of the candidates' prices that stand for a shopper's price bounds."""
_COLUMN = {name: position for position, name in enumerate(RANKER_FEATURES)}


@dataclass(frozen=True)
class Row:
    """One policy's shelves. `ndcg`, `diversity` (distinct categories per product shown) and `coverage` at `k`, as in `evaluate`.

    `ndcg_change`: against the first row of the table, with the standard error of that mean over people. `removed`: rule -> share of all candidates
    that it kept off a shelf. `explored`: share of the products shown that were drawn. `shown`: mean number of products on a shelf.
    """

    name: str
    ndcg: float
    ndcg_change: float
    ndcg_change_error: float
    diversity: float
    coverage: float
    removed: Mapping[str, float]
    explored: float
    shown: float
    k: int = K

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Audience:
    """The candidates of a scored audience as the rules read them. `products` are the retriever's, in whose positions candidates are given."""

    def __init__(self, scored: Scored, products: Products, weights: Sequence[float] | Floats) -> None:
        self._category, categories = _numbered(products.categories)
        self._brand, brands = _numbered(products.brands)
        self.offers: list[Offers] = []
        for person, found, rows in zip(scored.people.people, scored.candidates, scored.rows, strict=True):
            index, category, brand = found.index, self._category[found.index], self._brand[found.index]
            wanted = {categories[key]: share for key, share in wanted_shares(person.interests, weights).items() if key in categories}
            self.offers.append(
                Offers(
                    category, brand, rows[:, _COLUMN["product_stock"]], rows[:, _COLUMN["product_price"]],
                    rows[:, _COLUMN["up_purchases"]] > 0, _disliked(person, category, brand, categories, brands), wanted_of(category, wanted),
                    products.vectors[index],
                )
            )  # fmt: skip


def _numbered(names: NDArray[np.str_]) -> tuple[Index, dict[str, int]]:
    """(int32[n] codes, -1 for "", name -> code)."""
    known, codes = np.unique(names, return_inverse=True)
    return np.where(names == "", -1, codes).astype(np.int32), {str(name): code for code, name in enumerate(known) if name}


def _disliked(person: Person, category: Index, brand: Index, categories: Mapping[str, int], brands: Mapping[str, int]) -> NDArray[np.bool_]:
    barred = vetoes(person.interests)
    found = np.zeros(len(category), bool)
    for kind, codes, known, subjects in (("category", category, categories, barred[0]), ("brand", brand, brands, barred[1])):
        found |= np.isin(codes, [known[key] for subject in subjects if (key := f"{kind}:{subject}") in known])
    return found


def policies(offers: Sequence[Offers], served: ShelfPolicy) -> dict[str, ShelfPolicy]:
    """Name -> policy: none, each rule alone, what is served, and the strengths of each spread on top of the served rules."""
    prices = np.concatenate([each.price for each in offers]) if offers else np.zeros(0, np.float32)
    known = prices[~np.isnan(prices)]
    lowest, highest = np.quantile(known, MIDDLE).tolist() if len(known) else (0.0, 0.0)
    alone = {
        "out of stock": {"hide_sold_out": True},
        "already bought": {"hide_bought": True},
        "stated dislikes": {"hide_disliked": True},
        "price, middle half": {"min_price": lowest, "max_price": highest},
        f"category at most {served.category_share:.0%}": {"diversity": "cap", "category_share": served.category_share},
        "brand at most 30%": {"brand_share": 0.3},
    }
    found = {"no rules": NO_RULES} | {name: replace(NO_RULES, **changes) for name, changes in alone.items()}  # type: ignore[arg-type]
    found["as served"] = served
    found["as served, no spread"] = replace(served, diversity="none")
    found |= {f"category at most {share:.0%}": replace(served, diversity="cap", category_share=share) for share in CATEGORY_SHARES}
    found |= {f"MMR {strength}": replace(served, diversity="mmr", strength=strength) for strength in MMR_STRENGTHS}
    found |= {f"calibrated {strength}": replace(served, diversity="calibrated", strength=strength) for strength in CALIBRATION_STRENGTHS}
    found |= {f"exploration {slots}": replace(served, exploration_slots=slots) for slots in EXPLORATION_SLOTS}
    return found


def rows(
    scored: Scored,
    scores: Sequence[Floats],
    products: Products,
    weights: Sequence[float] | Floats,
    repeat_buying: bool,
    served: ShelfPolicy | None = None,
    k: int = K,
) -> list[Row]:
    """One row per policy, the first without any rule; no people give no rows.

    Args:
        scores: one float32[m] per person, the ranker's for their rows.
        products: of the retriever that proposed the candidates.
        weights: float32[8], the profile's weight of each signal.
        repeat_buying: in a shop without it what was bought is removed under every policy; it is no target either.
        served: policy that the service answers with, by default that of its settings' defaults.
    """
    if not scored.people.people:
        return []
    offers = Audience(scored, products, weights).offers
    made: list[Row] = []
    first: Doubles | None = None
    for name, policy in policies(offers, served or ShelfPolicy()).items():
        choices = [
            choose(policy, values, each, k, repeat_buying, draw_of(person.user_id))
            for values, each, person in zip(scores, offers, scored.people.people, strict=True)
        ]
        rankings = [found.index[choice.places] for found, choice in zip(scored.candidates, choices, strict=True)]
        by_person = ndcgs(rankings, scored.targets.products, k)
        first = by_person if first is None else first
        made.append(_row(name, choices, rankings, by_person, by_person - first, products, k))
    return made


def shelves(
    scored: Scored, scores: Sequence[Floats], products: Products, weights: Sequence[float] | Floats, repeat_buying: bool, k: int = K
) -> list[Index]:
    """Each one's shelf under the defaults of the service's settings, as positions in `products`."""
    chosen = (
        choose(ShelfPolicy(), values, each, k, repeat_buying, draw_of(person.user_id)).places
        for values, each, person in zip(scores, Audience(scored, products, weights).offers, scored.people.people, strict=True)
    )
    return [found.index[places] for found, places in zip(scored.candidates, chosen, strict=True)]


def _row(name: str, choices: Sequence[Choice], rankings: Sequence[Index], ndcg: Doubles, change: Doubles, products: Products, k: int) -> Row:
    categories = products.categories
    candidates = max(sum(len(choice.kept_off) for choice in choices), 1)
    shown = [len(choice.places) for choice in choices]
    removed = {rule: sum(choice.removed().get(rule, 0) for choice in choices) / candidates for rule in RULES}
    return Row(
        name,
        float(ndcg.mean()),
        float(change.mean()),
        float(change.std(ddof=1) / np.sqrt(len(change))) if len(change) > 1 else 0.0,
        float(np.mean([len(set(categories[ranking[:k]])) / min(len(ranking), k) for ranking in rankings if len(ranking)] or [0.0])),
        len(set(np.concatenate(rankings).tolist())) / max(len(products), 1),
        {rule: share for rule, share in removed.items() if share},
        sum(choice.placed.count("exploration") for choice in choices) / max(sum(shown), 1),
        float(np.mean(shown)),
        k,
    )


def table(found: Sequence[Row]) -> list[str]:
    """The rows as printed text."""
    if not found:
        return []
    k = found[0].k
    lines = [f"{'policy':<26}{f'NDCG@{k}':>10}{'change':>10}{'+-':>8}{f'DIV@{k}':>10}{f'COV@{k}':>10}{'drawn':>8}  share of candidates kept off"]
    for row in found:
        removed = ", ".join(f"{rule} {share:.2%}" for rule, share in row.removed.items())
        change = f"{row.ndcg_change:>+10.4f}{row.ndcg_change_error:>8.4f}"
        lines.append(f"{row.name:<26}{row.ndcg:>10.4f}{change}{row.diversity:>10.4f}{row.coverage:>10.4f}{row.explored:>8.1%}  {removed}")
    return lines
