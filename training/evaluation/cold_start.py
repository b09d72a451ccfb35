"""Figures for who and what is new: users without an earlier act, products that nobody had taken, and both.

Here the catalogue is the one that the shop lists by the period's end: what it lists later is known by text, category and brand alone, and not by any
act. In the other figures such a product can't be proposed and counts against every method.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from training.dataset import Audience
from training.evaluation.past import Past
from training.evaluation.slices import Outcomes, Slice, estimated
from training.evaluation.stack import Stack
from training.retrieval import tune

KIND = "cold start"


def cold_start(
    stack: Stack, people: Audience, newcomers: Audience, past: Past, methods: Mapping[str, str], baseline: str, seed: int
) -> tuple[Slice, ...]:
    """Slices "new users", "new users, new products" and "new products, known users".

    `stack` and `past` over the whole catalogue; `people` had acted before, `newcomers` had not; `methods` are retrievers by their titles, `baseline`
    among them.
    """
    taken = {str(product) for product, users in zip(past.products.ids, past.taken, strict=True) if users}
    known = people.part([place for place, wanted in enumerate(people.wanted) if wanted - taken])
    return (
        *_estimated(stack, newcomers, past, methods, baseline, seed, ("new users", "new users, new products")),
        *_estimated(stack, known, past, methods, baseline, seed, ("", "new products, known users")),
    )


def _estimated(
    stack: Stack, people: Audience, past: Past, methods: Mapping[str, str], baseline: str, seed: int, names: Sequence[str]
) -> tuple[Slice, ...]:
    """`names` of the slice of all targets ("" leaves it out) and of that of new products."""
    if not people.people:
        return ()
    rankings = {"ranker": [answer.ranking() for answer in stack.answers(people.people)]}
    rankings |= {title: tune.ranking(stack.retrievers, name, people) for title, name in methods.items()}
    outcomes = Outcomes.of(rankings, people.targets(stack.retrievers))
    new = np.array([product < 0 or past.taken[product] == 0 for product in outcomes.product], bool)
    every, of_new = names
    parts = {(KIND, every): np.ones(len(new), bool)} if every else {}
    return estimated(outcomes, {**parts, (KIND, of_new): new}, "ranker", baseline, list(methods), seed)
