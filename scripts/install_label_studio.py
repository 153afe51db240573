"""Install Label Studio in a virtual environment of its own: its requirements are not ours."""

import subprocess
import sys
import venv
from pathlib import Path

VERSION = "1.23.2"


def main(folder: Path) -> None:
    """Install it, unless this version is there already."""
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    marker = folder / f"label-studio-{VERSION}"
    if marker.exists():
        print(f"Label Studio {VERSION} is in {folder}")
        return
    venv.create(folder, with_pip=True, clear=True)
    command = [scripts / "python", "-m", "pip", "install", "--quiet", f"label-studio=={VERSION}"]
    subprocess.run([str(part) for part in command], check=True)
    marker.touch()
    print(f"Installed Label Studio {VERSION} in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
