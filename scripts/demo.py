"""``make demo``: a server on its defaults, the main job through boto3, and nothing left behind.

The data directory is a temporary one and the port a free one, so that a server of the user's own is
not disturbed. Everything else is the embedded default.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPARKOWL = str(Path(sys.executable).with_name("sparkowl"))


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sparkowl-demo-") as data_dir:
        began = time.perf_counter()
        server = subprocess.Popen(
            [SPARKOWL, "serve", "--data-dir", data_dir, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=(Path(data_dir) / "server.log").open("w"),
            text=True,
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                print((Path(data_dir) / "server.log").read_text(), file=sys.stderr)
                return 1
            print(f"{time.perf_counter() - began:8.2f} s  {line.strip()}", flush=True)
            status = subprocess.run(
                [sys.executable, str(ROOT / "examples" / "flights.py")],
                env=environment(data_dir),
                check=False,
            ).returncode
        finally:
            began = time.perf_counter()
            server.terminate()
            server.wait()
        print(f"{time.perf_counter() - began:8.2f} s  server stopped")
        left = processes_of(data_dir)
        print(f"{len(left)} processes left behind {left or ''}".strip())
        return status or server.returncode or len(left)


def environment(data_dir: str) -> dict[str, str]:
    """The environment after ``eval "$(sparkowl env)"``."""
    printed = subprocess.run(
        [SPARKOWL, "env", "--data-dir", data_dir], capture_output=True, text=True, check=True
    ).stdout
    lines = [shlex.split(line) for line in printed.splitlines()]
    unset = {name for word, *names in lines for name in names if word == "unset"}
    exports = dict(line[1].split("=", 1) for line in lines if line[0] == "export")
    return {k: v for k, v in os.environ.items() if k not in unset} | exports


def processes_of(data_dir: str) -> list[int]:
    """Processes whose command line or working directory names the data directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            folder = str((entry / "cwd").readlink())
        except OSError:
            continue
        if data_dir.encode() in command or folder.startswith(data_dir):
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
