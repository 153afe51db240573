"""Install a browser, if there is none: as root from Debian's packages, or else by playwright."""

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # as in integration/conftest.py
APT = ["apt-get", "--quiet=2", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=600"]
ATTEMPTS = 3  # a download may break off


def main() -> None:
    """Install Chromium, unless a browser is on the path."""
    if (found := next(filter(None, map(shutil.which, BROWSERS)), None)) is not None:
        print(f"the browser is {found}")
    elif shutil.which("apt-get") is not None and os.geteuid() == 0:
        # The lists may be absent, as in many containers, or older than what the mirror has.
        run_until_it_works(
            [*APT, "update"], [*APT, "install", "--yes", "--no-install-recommends", "chromium"]
        )
        print("installed Debian's chromium")
    else:
        run_until_it_works([sys.executable, "-m", "playwright", "install", "chromium"])


def run_until_it_works(*commands: list[str]) -> None:
    """Run commands one after the other, and all of them again if the last one fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for left in reversed(range(ATTEMPTS)):
        codes = [
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode
            for command in commands
        ]
        if codes[-1] == 0:
            return
        print(f"{commands[-1][0]} failed; {left} attempts are left", file=sys.stderr)
    sys.exit(
        f"no browser could be installed; install one of {', '.join(BROWSERS)} (Debian: apt-get "
        "install chromium, as root), and then run this again"
    )


if __name__ == "__main__":
    main()
