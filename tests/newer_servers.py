"""`make newer-servers`: the tests that touch broker and archive, on those of newer Debians.

Python, site and lab are this checkout's; RabbitMQ and Orthanc come from root directories under
var/roots that `mmdebstrap` makes (infra/local/debian_root.py).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local.private_files import private_directory
from infra.local.settings import REPOSITORY, VAR

#: Suite of Debian, and what it stands for. `testing` moves on by itself.
SUITES = {
    "trixie": "Debian 13, RabbitMQ 4.0 and Orthanc 1.12",
    "testing": "Debian testing, RabbitMQ 4.3 and Orthanc 1.13 or newer",
}

PACKAGES = ("rabbitmq-server", "orthanc", "orthanc-dicomweb")

ROOTS = VAR / "roots"

#: Bytes of one root, with room to unpack.
ROOT_BYTES = 700 * 1024**2

NEEDS = f"""\
This runs the integration tests that touch broker and archive once for each of: {", ".join(SUITES)}.
It needs root, or user namespaces and lines of this user in /etc/subuid and /etc/subgid (uidmap);
the packages mmdebstrap and debian-archive-keyring; for the first run a Debian mirror, from which it
fetches some 100 MB a suite, 1.4 GB below {ROOTS} and two minutes; and for the tests what
`make test` needs, and a quarter of an hour a suite or more. It is no part of `make test`.
"""


class Lacking(Exception):
    """Something is missing; the text is a sentence for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the roots that are missing, and run the tests in each; 1 when any failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="make newer-servers",
        description=__doc__,
        epilog=f"Any of the words {', '.join(SUITES)} chooses a suite; all else is for pytest.",
    )
    parser.add_argument("--mirror", help="of Debian; otherwise the one of this machine's apt")
    parser.add_argument("--rebuild", action="store_true", help="make the roots anew")
    parser.add_argument("--only-build", action="store_true", help="run no test")
    suites = [word for word in given if word in SUITES] or list(SUITES)
    options, of_pytest = parser.parse_known_args([word for word in given if word not in SUITES])
    print(NEEDS, flush=True)
    try:
        for suite in suites:
            ensure(suite, mirror=options.mirror, rebuild=options.rebuild)
    except Lacking as error:
        print(f"newer-servers: {error}", file=sys.stderr)
        return 1
    if options.only_build:
        return 0
    ends = {suite: run(suite, of_pytest) for suite in suites}
    for suite, end in ends.items():
        print(f"{suite} ({versions(ROOTS / suite)}): {'passed' if end == 0 else 'FAILED'}")
    return int(any(ends.values()))


def ensure(suite: str, *, mirror: str | None, rebuild: bool) -> None:
    """Make the root of a suite unless it is there. Raises `Lacking`."""
    root = ROOTS / suite
    if root.exists() and not rebuild:
        print(f"{suite}: {versions(root)}, as made before (--rebuild makes it anew)", flush=True)
        return
    for program, package in {"mmdebstrap": "mmdebstrap", "unshare": "util-linux"}.items():
        if shutil.which(program) is None:
            raise Lacking(f"{program} is missing: apt-get install {package}")
    private_directory(VAR)
    ROOTS.mkdir(exist_ok=True)
    free = shutil.disk_usage(ROOTS).free
    if free < ROOT_BYTES:
        raise Lacking(f"{free / 1024**2:.0f} MB free below {ROOTS}, {ROOT_BYTES >> 20} are needed")
    made = _make(suite, mirror or host_mirror())
    shutil.rmtree(root, ignore_errors=True)
    made.rename(root)
    print(f"{suite}: {versions(root)}, made", flush=True)


def _make(suite: str, mirror: str) -> Path:
    part = ROOTS / f"{suite}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    # By way of a tar file: whoever unpacks it owns it, also where the user ids of its making were
    # those of a namespace.
    tar = part.with_suffix(".tar")
    command = (
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        # A mirror that stands still, or of a day long past, will do: signatures are checked.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        # Without it the port mapper ends with nxdomain; testing's base-files bring none.
        r"""--customize-hook=printf '127.0.0.1\tlocalhost\n' > "$1/etc/hosts" """,
        suite,
        str(tar),
        mirror,
    )
    try:
        if subprocess.run(command, check=False).returncode:
            raise Lacking(f"mmdebstrap could not make a root of {suite}: see above")
        unpack = ("tar", "-xf", str(tar), "-C", str(part), "--no-same-owner", "--exclude=./dev/*")
        subprocess.run(unpack, check=True)
    finally:
        tar.unlink(missing_ok=True)
    return part


def host_mirror() -> str:
    """The mirror from which this machine's apt has Debian. Raises `Lacking`."""
    ask = ("apt-get", "indextargets", "--format", "$(REPO_URI)")
    of = ("Origin: Debian", "Label: Debian", "Created-By: Packages")
    try:
        done = subprocess.run((*ask, *of), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Lacking("this machine has no apt: name a mirror of Debian by --mirror") from None
    found = done.stdout.split()
    if not found:
        raise Lacking("apt knows no mirror of Debian here: apt-get update, or --mirror")
    return found[0]


def versions(root: Path) -> str:
    """Broker and archive of a root, with their versions."""
    status = (root / "var" / "lib" / "dpkg" / "status").read_text("utf-8")
    found = {}
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line)
        found[fields.get("Package", "")] = fields.get("Version", "")
    return f"RabbitMQ {found['rabbitmq-server']}, Orthanc {found['orthanc']}"


def run(suite: str, of_pytest: Sequence[str]) -> int:
    """Run the tests with the servers of that root; pytest's exit status."""
    named = any(word.startswith("tests/") for word in of_pytest)
    workers = () if any(word.startswith("-n") for word in of_pytest) else ("-n", "3")
    command = (
        "env",
        f"SERVERS_ROOT={ROOTS / suite}",
        *(sys.executable, "-m", "pytest", "--touching-servers"),
        *("--dist", "loadfile", "--no-loadscope-reorder", *workers),
        *of_pytest,
        *(() if named else ("tests/integration",)),
    )
    print(f"== {suite}: {SUITES[suite]}", flush=True)
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
