"""Install Label Studio in a virtual environment of its own: its requirements are not ours."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "integration" / "constraints.txt"
ATTEMPTS = 3  # pip gives up at a download that breaks off


def main(folder: Path) -> None:
    """Install it, unless the same is there already, for the same Python."""
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / ("python.exe" if sys.platform == "win32" else "python")
    wanted = f"{hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()} Python {sys.version}"
    marker = folder / "installed"
    if marker.exists() and marker.read_text() == wanted and python.exists():
        print(f"Label Studio is in {folder}")
        return
    venv.create(folder, with_pip=True, clear=True)
    # Python compiles what it imports, which is a small part.
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--prefer-binary"]
    command += ["-c", str(CONSTRAINTS), "label-studio"]
    for left in reversed(range(ATTEMPTS)):
        if subprocess.run(command, check=left == 0).returncode == 0:
            break
        print(f"pip failed; trying again, {left} more times at most", file=sys.stderr)
    marker.write_text(wanted)
    print(f"Installed Label Studio in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
