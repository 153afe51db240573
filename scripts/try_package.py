"""Install a packaged pipeline into a new virtual environment and classify a test set there."""

import argparse
import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the package, as spacy.load() takes it")
    parser.add_argument("test", type=Path, help="CSV file with the columns text and category")
    parser.add_argument("output", type=Path, help="JSON file for the scores")
    parser.add_argument(
        "--wheel", type=Path, action="append", default=[], help="wheel, or a folder with one"
    )
    args = parser.parse_args()
    wheels = [newest_wheel(path) for path in args.wheel]
    with tempfile.TemporaryDirectory(prefix="spacy-torch-") as folder:
        environment = Path(folder) / "environment"
        print(f"Making an empty virtual environment in {environment}", flush=True)
        python = make_environment(environment)
        names = " and ".join(wheel.name for wheel in wheels)
        print(f"Installing {names}: about a minute", flush=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install += ["-c", str(ROOT / "constraints.txt")]
        run([python, *install, *wheels], cwd=folder)
        scores = Path(folder) / "scores.json"
        # -I: neither the current directory nor PYTHONPATH can lend the environment a package.
        classify = [python, "-I", ROOT / "scripts" / "classify.py"]
        run([*classify, args.name, args.test.resolve(), scores], cwd=folder)
        results = json.loads(scores.read_text(encoding="utf-8"))
    results["wheel_bytes"] = wheels[0].stat().st_size
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def newest_wheel(path: Path) -> Path:
    """The wheel itself, or the one in a folder that was built last."""
    if path.suffix == ".whl":
        return path.resolve()
    wheels = sorted(path.glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    if not wheels:
        raise SystemExit(f"There is no wheel in {path}: run the command 'package' first")
    return wheels[-1].resolve()


def make_environment(folder: Path) -> Path:
    """A virtual environment with nothing but pip; its Python."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(command: list[str | Path], *, cwd: str) -> None:
    """Run a command; what it prints is shown, and its failure ends this script."""
    result = subprocess.run([str(part) for part in command], cwd=cwd, check=False)
    if result.returncode != 0:
        raise SystemExit(result.returncode)


if __name__ == "__main__":
    main()
