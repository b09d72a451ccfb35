"""`python -m training.benchmark ranking|social --data DIR --out FILE`: how good the recommender is on public files, by published protocols.

ranking                  leave-one-out (leave_one_out.py), which published results use
ranking --protocol time  everything before a day against what came after it (by_time.py), which is the honest one
social                   what social ties add, on ratings without times (social.py)
"""

import argparse
import json
import logging
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from training import threads
from training.benchmark import by_time, figures, leave_one_out, social
from training.settings import TrainingSettings

log = logging.getLogger(__name__)

RANKING = {"leave-one-out": leave_one_out, "time": by_time}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the recommender on public files.")
    parser.add_argument("what", choices=["ranking", "social"], help="rankings of a catalogue, or what social ties add to them")
    parser.add_argument("--data", type=Path, required=True, help="folder with interactions.parquet and items.parquet; social: ratings and trust")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--protocol", choices=list(RANKING), default="leave-one-out", help="what the targets of `ranking` are")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--ablation", action="store_true", help="leave-one-out: on the first seed, what each retriever and group of features adds")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds: at least 1")
    if arguments.what == "social" and (arguments.ablation or arguments.protocol != "leave-one-out"):
        parser.error("social has neither --protocol nor --ablation")
    logs.configure()
    threads.one()
    try:
        settings = TrainingSettings.read()
        runs: dict[int, Any] = {}
        for seed in range(1, arguments.seeds + 1):
            with tempfile.TemporaryDirectory(prefix="storyshelf-benchmark-") as scratch:
                if arguments.what == "social":
                    measure, report, table = social.run, social.report, social.table
                else:
                    measure = partial(RANKING[arguments.protocol].run, leave_out=arguments.ablation and seed == 1)
                    report, table = partial(figures.report, protocol=arguments.protocol), figures.table
                runs[seed] = measure(arguments.data, seed, settings, Path(scratch))
            found = report(runs)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
            print(f"After seed {seed}:\n{table(found)}", flush=True)
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
