"""`python -m feature_repo.reset <shop>`: delete a shop's home, after asking."""

import argparse
import shutil
import sys

from feature_repo.errors import FeatureRepoError, StoryshelfError
from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from feature_repo.store import forget


def reset(settings: Settings, shop: str, confirmed: bool) -> str:
    """Delete the home of `shop`; returns what was done in one line.

    Raises:
        FeatureRepoError: no shop named, no such home, or nobody there to confirm.
    """
    if not shop:
        raise FeatureRepoError("Name the shop whose home to delete: `make reset SHOP=<name>`.")
    home = ShopHome.named(settings, shop)
    if not home.root.is_dir():
        raise FeatureRepoError(f"There is no home for shop '{shop}' in {settings.home}.")
    if not confirmed:
        if not sys.stdin.isatty():
            raise FeatureRepoError(f"Deleting {home.root} needs an answer: run it in a terminal, or add --yes (make reset SHOP={shop} ARGS=--yes).")
        print(f"This deletes {home.root} with its features, models, journal, contacts and key. Pseudonyms can't be made again without the key.")
        if input(f"Type the shop's name to go on ({shop}): ").strip() != shop:
            return "Nothing was deleted."
    with home.at_work():
        for folder in [path for path in home.features.glob("*") if path.is_dir() and not path.is_symlink()]:
            forget(folder)
        shutil.rmtree(home.root)
    last = settings.home / "last"
    if last.exists() and last.read_text().strip() == shop:
        last.unlink()
    return f"Deleted {home.root}."


def main() -> None:
    parser = argparse.ArgumentParser(description="Delete a shop's home: features, models, journal, contacts and key.")
    parser.add_argument("shop", nargs="?", default="", help="name of the shop")
    parser.add_argument("--yes", action="store_true", help="don't ask")
    arguments = parser.parse_args()
    try:
        print(reset(Settings.read(), arguments.shop, arguments.yes))
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
