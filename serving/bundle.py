"""`python -m serving.bundle [--shop NAME] [--serve]`: pack a shop's champion models and our code into a bento, and serve it.

The flow: champions in the registry -> do they belong together? -> their folders and our packages into one folder -> `bentoml build` -> the
bento in the shop's home. A bento holds all it needs but the libraries and the shop's home: it serves from wherever it is copied to.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from serving.errors import ServingError
from serving.settings import ServingSettings

log = logging.getLogger("serving.bundle")  # by name: as a command this module is `__main__`

ROOT = Path(__file__).parents[1]
PACKAGES = ("feature_repo", "training", "serving")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "benchmark")
NAME = "storyshelf"
KEPT = 3
"""Bentos kept per shop: the newest, and those that a running service may still read."""
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "FEAST_USAGE": "False", "MLFLOW_DISABLE_TELEMETRY": "true"}


def pack(home: ShopHome) -> Path:
    """The bento of the shop's champions, built unless it is there already; returns its folder.

    Raises:
        ServingError: there is no champion yet, the champions don't belong together, or the build failed.
    """
    champions = _champions(home)
    version = _version(champions)
    bento = home.bentos / "bentos" / NAME / version
    if not (bento / "bento.yaml").is_file():
        home.bentos.mkdir(parents=True, exist_ok=True)
        # Not in the home: BentoML reads no bentofile below a hidden folder, as .storyshelf is.
        with tempfile.TemporaryDirectory(prefix="storyshelf-") as scratch:
            stage = Path(scratch)
            _take_models(home, stage)
            _take_code(stage)
            _describe(stage, champions)
            _build(home, stage, version)
        log.info("Packed %s:%s.", NAME, version)
    else:
        log.info("%s:%s is packed already: same models, same code.", NAME, version)
    _make_last(home, bento)
    _forget_old(home, bento)
    return bento


def _champions(home: ShopHome) -> dict[str, str]:
    """Content hash of each champion by kind."""
    from serving.release import KINDS  # the models' classes and MLflow load here: --help and a taken port are answered at once
    from training import registry

    found = {}
    for kind in KINDS:
        champion = registry.champion(home, kind)
        if champion is None:
            raise ServingError(f"No champion {kind} in the registry of shop '{home.shop}': run `make train` first.")
        found[kind] = champion.content
    return found


def _version(champions: Mapping[str, str]) -> str:
    """Names models and code: the same give the same bento."""
    digest = hashlib.sha256(json.dumps(sorted(champions.items())).encode())
    for file in _code():
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _code() -> Iterator[Path]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*")):
            if file.is_file() and not {"__pycache__", "benchmark"} & set(file.relative_to(ROOT).parts):
                yield file


def _take_models(home: ShopHome, stage: Path) -> None:
    """Copies of the champions' folders, checked one by one and against each other."""
    from serving.release import KINDS, check_compatible
    from training import registry

    check_compatible({kind: registry.download(home, kind, registry.CHAMPION, stage / "models" / kind) for kind in KINDS})


def _take_code(stage: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, stage / package, ignore=LEFT_OUT)


def _describe(stage: Path, champions: Mapping[str, str]) -> None:
    """The bentofile: our libraries by name, as pyproject.toml has them; nothing is looked up while building."""
    project = ROOT / "pyproject.toml"
    needs = tomllib.loads(project.read_text())["project"]["dependencies"] if project.exists() else []
    about = {
        "service": "serving.service:Storyshelf",
        "labels": dict(champions),
        "include": ["*"],
        "python": {"packages": needs, "lock_packages": False},
    }
    (stage / "bentofile.yaml").write_text(json.dumps(about, indent=1))  # JSON is YAML


def _build(home: ShopHome, stage: Path, version: str) -> None:
    command = [sys.executable, "-m", "bentoml", "build", str(stage), "--version", version]
    # In a process of its own, so that the service is imported from the stage and not from here.
    done = subprocess.run(command, cwd=stage, env=environment(home), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-12:]
        raise ServingError("BentoML could not build the bundle:\n" + "\n".join(last))


def environment(home: ShopHome) -> dict[str, str]:
    """What a process needs to work on this shop's bentos."""
    paths = {"BENTOML_HOME": str(home.bentos.resolve()), "STORYSHELF_HOME": str(home.root.parent.resolve()), "STORYSHELF_SHOP": home.shop}
    # -m adds the folder it starts in to the path; an inherited one would find our packages elsewhere.
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "STORYSHELF_BUNDLE")}
    return own | QUIET | paths | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def _make_last(home: ShopHome, bento: Path) -> None:
    """`bentos/last` leads to the code and models of the newest bento; replaced in one step."""
    link = home.bentos / "last.part"
    link.unlink(missing_ok=True)
    link.symlink_to((bento / "src").relative_to(home.bentos), target_is_directory=True)  # relative: a home may be moved
    link.replace(home.bentos / "last")


def _forget_old(home: ShopHome, current: Path) -> None:
    folders = [each for each in current.parent.iterdir() if each.is_dir() and each != current]
    for old in sorted(folders, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old)


def serve(home: ShopHome, bento: Path, host: str, port: int) -> None:
    """Become the process that serves the bento; returns only by an error."""
    print(f"Shop '{home.shop}' ({home.root}): http://{host}:{port} (Ctrl-C stops it)", flush=True)
    command = [sys.executable, "-m", "bentoml", "serve", str(bento.resolve()), "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, environment(home))  # noqa: S606


def check_free(host: str, port: int) -> None:
    """Raises:
    ServingError: the host is no address of this machine, or the port is taken.
    """
    try:
        address = ip_address(host)
    except ValueError:
        raise ServingError(f"'{host}' is no IP address to listen on: set STORYSHELF_HOST to 127.0.0.1, or to one of this machine's.") from None
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(f"Can't listen on {host}:{port} ({error.strerror}): stop what uses it, or choose another with --port.") from error


def main() -> None:
    parser = argparse.ArgumentParser(description="Pack a shop's champion models into a bento and, with --serve, serve it.")
    parser.add_argument("--shop", default="", help="shop (default: the one trained last)")
    parser.add_argument("--serve", action="store_true", help="serve the bento")
    parser.add_argument("--host", default="", help="address to listen on (default: STORYSHELF_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: STORYSHELF_PORT, 3000)")
    arguments = parser.parse_args()
    logs.configure()
    try:
        settings = ServingSettings.read()
        home = ShopHome.open(settings, arguments.shop)
        host, port = arguments.host or settings.host, arguments.port or settings.port
        if arguments.serve:
            host = "127.0.0.1" if host == "localhost" else host
            check_free(host, port)  # before the minute that a build may take
        bento = pack(home)
        if arguments.serve:
            serve(home, bento, host, port)
        print(f"Bundle of shop '{home.shop}': {bento}")
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
