"""`make test`: install what the tests need, then run every suite with real parts.

    python3 tests/run.py [--only SUITE ...] [-- PYTEST ARGUMENTS]

Suites: check, unit, postgres, fuzz, docker, browser, journey, compose, quant; soak is the long one. Needs root on
Debian or Ubuntu to install packages; elsewhere it says what is missing and fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"

# What must be there, and the Debian package that brings it.
PROGRAMS = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "chromium": "chromium",
    "nginx": "nginx-light",
    "cc": "gcc",
    "ip": "iproute2",
    "docker-compose": "docker-compose",
    "promtool": "prometheus",
    "openssl": "openssl",
}
SUITES = ("check", "unit", "postgres", "fuzz", "docker", "browser", "journey", "compose", "quant")
# Tests that share nothing run in a process per core and one more, because many of them wait.
SPREAD = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal"]
SPREAD_SUITES = ("unit", "fuzz")
# The one waits for Docker and for deadlines most of its time, the other for a processor.
WAITING_SUITE, COMPUTING_SUITE = "docker", "browser"
# Minutes each: `make soak`.
LONG_SUITES = ("soak",)
QUANT_SUITE = "quant"
# pytest's exit status when none of its tests was chosen.
NO_TESTS = 5
MARKS = {
    "unit": "not docker and not browser and not slow and not journey and not fuzz and not compose",
    "fuzz": "fuzz",
    "docker": "docker and not journey and not slow and not quant",
    "browser": "browser and not journey and not slow",
    "journey": "journey and not slow",
    "compose": "compose and not slow",
    "quant": "quant and not slow",
    "soak": "slow",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = SUITES + LONG_SUITES
    parser.add_argument("--only", nargs="+", choices=every, default=list(SUITES), help="run these suites alone")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    install_packages()
    make_environment()
    os.environ.setdefault("MODELYARD_CACHE_DIR", str(Path.home() / ".cache" / "modelyard"))
    sys.path.insert(0, str(ROOT))
    # The suites start hundreds of Python processes; without bytecode each compiles every module anew, for seconds.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    prepare_llamacpp()
    began = time.monotonic()
    prepared = prepare_quantisers() if QUANT_SUITE in options.only and len(options.only) > 1 else None
    results = run_suites(options.only, options.pytest, prepared)
    print()
    for suite, (code, seconds) in results.items():
        print(f"{'ok    ' if code == 0 else 'FAILED'} {suite:<9} {seconds:6.1f} s")
    print(f"together  {time.monotonic() - began:6.1f} s")
    return max(code for code, _seconds in results.values())


def run_suites(
    names: list[str], more: list[str], prepared: "subprocess.Popen[bytes] | None"
) -> dict[str, tuple[int, float]]:
    """Exit status and seconds of each suite, always in their own order: one that runs beside another begins first."""
    results: dict[str, tuple[int, float]] = {}
    beside: Beside | None = None
    for suite in sorted(set(names), key=(SUITES + LONG_SUITES).index):
        if suite == WAITING_SUITE and COMPUTING_SUITE in names:
            beside = Beside(suite, more)
            continue
        print(f"\n=== {suite} ===", flush=True)
        began = time.monotonic()
        if suite == QUANT_SUITE and prepared is not None:
            prepared.wait()  # where it failed, the suite makes what it lacks, and says why it cannot
        results[suite] = (run_suite(suite, more), time.monotonic() - began)
        if suite == COMPUTING_SUITE and beside is not None:
            results[beside.suite] = beside.finish()
    return results


class Beside:
    """A suite that runs while the next one does; what it says is shown when both are over."""

    def __init__(self, suite: str, more: list[str]) -> None:
        self.suite = suite
        self._began = time.monotonic()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        command = pytest_command(MARKS[suite], more)
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._said, stderr=subprocess.STDOUT)

    def finish(self) -> tuple[int, float]:
        """Exit status and seconds."""
        code = self._process.wait()
        seconds = time.monotonic() - self._began
        self._said.seek(0)
        print(f"\n=== {self.suite} ===\n{self._said.read().decode(errors='replace')}", flush=True)
        return code, seconds


def prepare_quantisers() -> "subprocess.Popen[bytes]":
    """Begin to fill the cache with the quantising suite's images, giving way (nice) to what runs meanwhile."""
    return subprocess.Popen(["nice", "-n", "10", str(PYTHON), "-m", "tests.parts.quantisers"], cwd=ROOT)


def install_packages() -> None:
    """Install the Debian packages that are missing, or say which and stop."""
    missing = [package for program, package in PROGRAMS.items() if not _which(program)]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"The tests need these programs: {' '.join(missing)}. As root: apt-get install {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "Acquire::Retries=5"]
    subprocess.run([*apt, "update"], check=True, env=quiet)
    subprocess.run(
        [*apt, "install", "-y", "--no-install-recommends", *missing],
        check=True, env=quiet, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def make_environment() -> None:
    """The same environment as `make run`'s, with the development packages."""
    subprocess.run(
        [sys.executable, str(ROOT / "workers" / "launcher" / "environment.py"), "--dev"],
        check=True,
    )


def prepare_llamacpp() -> None:
    """llama.cpp and a real model file for the pure tests that are held against them."""
    command = [str(PYTHON), "-m", "tests.parts.llamacpp"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    os.environ["MODELYARD_TEST_LLAMACPP_PYTHON"] = found["python"]
    os.environ["MODELYARD_TEST_GGUF"] = found["gguf"]


def run_suite(name: str, more: list[str]) -> int:
    """Run one suite and return its exit status."""
    if name == "check":
        return subprocess.run(["make", "check"], cwd=ROOT).returncode
    if name == "postgres":
        from tests.parts.postgres import postgres

        with postgres() as url:
            marks = "database and not docker and not browser and not slow and not fuzz and not compose"
            code = _pytest(marks, [*SPREAD, *more], MODELYARD_DATABASE_URL=url)
            # What a database refuses, PostgreSQL refuses more of; all cases run on SQLite.
            cases = {"MODELYARD_DATABASE_URL": url, "MODELYARD_TEST_FUZZ_CASES": "500"}
            return code or _pytest("fuzz", [*SPREAD, *more], **cases)
    if name == "soak":
        return run_soak(more)
    return _pytest(MARKS[name], [*SPREAD, *more] if name in SPREAD_SUITES else more)


def run_soak(more: list[str]) -> int:
    """The long forms; of what the database decides, on PostgreSQL too. What they measured is held to its limits."""
    from tests.parts import figures
    from tests.parts.postgres import postgres

    with tempfile.TemporaryDirectory(prefix="figures-") as folder, postgres() as url:
        notes = Path(folder) / "figures.jsonl"
        os.environ[figures.VARIABLE] = str(notes)
        marks = "slow and database and not docker and not browser and not compose"
        codes = [_pytest(MARKS["soak"], more), _pytest(marks, more, MODELYARD_DATABASE_URL=url)]
        found = figures.told(notes)
        # Where somebody chose tests, one of the two may have none of them.
        if codes == [NO_TESTS, NO_TESTS] or set(codes) - {0, 1, NO_TESTS}:
            found.append(figures.missing("pytest itself", f"ended with {codes}"))
        return figures.report(found, ROOT / "var" / "soak.md", "`make soak`")


def _pytest(marks: str, more: list[str], **environment: str) -> int:
    variables = {**os.environ, **environment}
    return subprocess.run(pytest_command(marks, more), cwd=ROOT, env=variables).returncode


def pytest_command(marks: str, more: list[str]) -> list[str]:
    """pytest with these marks, and the slowest tests named at the end."""
    return [str(PYTHON), "-m", "pytest", "-q", "--durations=20", "--durations-min=5", "-m", marks, *more]


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


if __name__ == "__main__":
    sys.exit(main())
