"""A Kafka broker of one node (KRaft) on a plain machine, for ``make run KAFKA=1`` and the tests.

Its jars come from Maven Central into the cache, once; ``java`` runs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.system import cache_folder

POM = Path(__file__).with_name("pom.xml")
START_SECONDS = 240.0

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
num.partitions={partitions}
auto.create.topics.enable=true
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


class KafkaMissing(Exception):
    """A program or the jars are not there; one sentence."""


def jars() -> Path:
    """The folder with the broker's jars, fetched first if missing. Raises KafkaMissing."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = cache_folder().expanduser().absolute() / f"kafka-{digest}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(folder):
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    program("java", "openjdk-17-jre-headless")
    print(f"kafka: fetching the broker into {folder}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kafka-") as scratch:
        target = Path(scratch) / "jars"
        command = [
            *(program("mvn", "maven"), "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={target}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
        if done.returncode or not target.is_dir():
            raise KafkaMissing(f"Kafka's jars were not fetched: {(done.stdout + done.stderr).strip()[-800:]}")
        target.rename(folder)


def program(name: str, package: str) -> str:
    if found := shutil.which(name):
        return found
    raise KafkaMissing(
        f"{name} is not on this machine, which Kafka needs; install with:"
        f" sudo apt-get install -y --no-install-recommends {package}"
    )


@dataclass
class Broker:
    """One broker over ``folder``, which keeps its data between starts."""

    folder: Path
    port: int
    controller: int
    partitions: int = 4
    host: str = "127.0.0.1"
    """Address that it listens on, and that it tells its clients."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"

    def command(self) -> Sequence[str]:
        """Of the broker itself; its storage is made ready first. Raises KafkaMissing."""
        classes = f"{jars()}/*"
        properties = self.folder / "server.properties"
        if not properties.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            properties.write_text(PROPERTIES.format(**vars(self)))
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            _java(classes, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
        return [*_jvm(classes), "kafka.Kafka", str(properties)]

    def start(self) -> None:
        """Returns when it takes connections."""
        command = self.command()
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while not _open(self.host, self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                raise KafkaMissing(f"Kafka did not start; its log is {self.folder / 'log.txt'}")
            time.sleep(0.1)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait()
            self.process = None


def _jvm(classes: str) -> list[str]:
    java = program("java", "openjdk-17-jre-headless")
    return [java, "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes]


def _java(classes: str, *arguments: str) -> None:
    done = subprocess.run([*_jvm(classes), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KafkaMissing(f"Kafka's storage was not made: {(done.stdout + done.stderr).strip()[-800:]}")


def _open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def _one_at_a_time(folder: Path):
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
