"""The demo shop as a source: the simulator's world written down as a shop would write it. `make train` reads it by default.

Without a folder the default world is made; a folder may hold a `demo.toml` that changes the world (docs/simulator.md).
"""

import logging
from pathlib import Path

from tqdm import tqdm

from feature_repo.shop import ShopConfig
from feature_repo.sources import ShopTables
from feature_repo.sources.demo.catalogue import CURRENCY, make_catalogue
from feature_repo.sources.demo.history import simulate
from feature_repo.sources.demo.shoppers import Shoppers
from feature_repo.sources.demo.world import World

log = logging.getLogger(__name__)

CONFIG = ShopConfig(name="Storyshelf demo shop", currency=CURRENCY, repeat_buying=False)


def read(folder: Path | None = None, progress: bool = False, world: World | None = None) -> ShopTables:
    """The tables of `world`, else of the folder's `demo.toml`, else of the default world.

    Raises:
        FeatureRepoError: `demo.toml` can't be read or names something unknown.
    """
    world = world or World.read(folder)
    catalogue = make_catalogue(world)
    shoppers = Shoppers.of(world)
    with tqdm(total=1, desc="simulating the shop", disable=not progress) as bar:
        events = simulate(world, catalogue, shoppers, bar.set_postfix_str)
        bar.update()
    log.info("Simulated %d products, %d shoppers, %d events (seed %d).", len(catalogue), len(shoppers), len(events), world.seed)
    return ShopTables(CONFIG, {"products": catalogue.table(), "events": events, **shoppers.tables(world, catalogue)})
