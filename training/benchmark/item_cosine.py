"""The untuned item-to-item cosine, the baseline everybody has: no decay, no direction, no shrinkage (Sarwar et al. 2001, without their weights)."""

import numpy as np
from scipy import sparse

from training.benchmark.figures import Ranks, ranks_of
from training.evaluation.past import Past, Places

AT_ONCE = 500
"""Users whose scores are in memory together."""


def ranks(past: Past, user: Places, item: Places, who: Places, targets: Places) -> Ranks:
    """int64[T]: rank of each target by the sum of cosines to what its user had; that itself is left out, ties count against it.

    Args:
        past: what was taken by whom.
        user, item: int64[n], the products that each user had, as `Past.histories` gives them.
        who, targets: int64[T], users, rising, and positions in its products, negative for one that it does not know.
    """
    count = len(past.products)
    taken = sparse.csr_matrix((np.ones(len(past.user), np.float32), (past.user, past.item)), (past.users, count))
    unit = sparse.diags(1.0 / np.sqrt(np.maximum(past.taken, 1)).astype(np.float32))
    cosines = (unit @ (taken.T @ taken) @ unit).tocsr()
    had = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), (int(max(user.max(initial=-1), who.max(initial=-1))) + 1, count))
    found: list[int] = []
    for start in range(0, had.shape[0], AT_ONCE):
        mine = had[start : start + AT_ONCE]
        scores = np.asarray((mine @ cosines).todense(), np.float32)
        scores[mine.nonzero()] = -np.inf
        first, last = np.searchsorted(who, [start, start + AT_ONCE])
        found += [ranks_of(scores[place - start], int(target)) for place, target in zip(who[first:last], targets[first:last], strict=True)]
    return np.array(found, np.int64)
