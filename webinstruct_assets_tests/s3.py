"""Servers that speak S3, each a process: Ceph's own gateway, and moto's where that is not installed."""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

BUCKET = "lake"
KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"}
CEPH = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
keyring = {folder}/keyring
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
mon max pg per osd = 2000
mon data = {folder}/mon
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd objectstore = memstore
memstore device bytes = 2147483648
osd data = {folder}/osd
[client]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw data = {folder}/rgw
rgw thread pool size = 32
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float) -> None:
    """Until somebody listens on the port of 127.0.0.1."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts; its output is in ``log``."""
    with log.open("ab") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, **environment})
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Moto's server; yields its endpoint."""
    port = free_port()
    with process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder / "moto.log"):
        wait_for(port, 60)
        make_bucket(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


def has_radosgw() -> bool:
    return all(shutil.which(name, path="/usr/bin") for name in ("ceph", "ceph-mon", "ceph-osd", "radosgw"))


@contextmanager
def radosgw(folder: Path) -> Iterator[str]:
    """Ceph's S3 gateway with a cluster of one monitor and one store in memory; yields its endpoint."""
    monitor, gateway = free_port(), free_port()
    fsid = str(uuid.uuid4())
    for name in ("mon", "osd", "rgw", "run", "log"):
        (folder / name).mkdir()
    settings, keys = folder / "ceph.conf", str(folder / "keyring")
    settings.write_text(CEPH.format(fsid=fsid, monitor=monitor, gateway=gateway, folder=folder))
    # Debian's own Python for its own tools.
    path = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    for key in ("PYTHONPATH", "VIRTUAL_ENV"):
        path[key] = ""

    def call(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, **path})

    for name, caps in (
        ("mon.", ("mon", "allow *")),
        ("client.admin", ("mon", "allow *", "osd", "allow *")),
        ("osd.0", ("mon", "allow profile osd", "osd", "allow *")),
    ):
        pairs = [word for kind, cap in zip(caps[::2], caps[1::2], strict=True) for word in ("--cap", kind, cap)]
        call(
            "ceph-authtool",
            keys,
            *([] if Path(keys).exists() else ["--create-keyring"]),
            "--gen-key",
            "-n",
            name,
            *pairs,
        )
    call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", f"{folder}/monmap")
    conf, log = ["-c", str(settings)], folder / "output.log"
    call("ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap", "--keyring", keys)
    with ExitStack() as stack:
        stack.enter_context(process(["/usr/bin/ceph-mon", *conf, "-i", "a", "-f"], log, **path))
        wait_for(monitor, 30)
        store = str(uuid.uuid4())
        call("ceph", *conf, "osd", "new", store)
        call("ceph", *conf, "auth", "add", "osd.0", "-i", keys)
        call("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", store)
        stack.enter_context(process(["/usr/bin/ceph-osd", *conf, "-i", "0", "-f"], log, **path))
        call("radosgw-admin", *conf, "user", "create", "--uid", "test", "--display-name", "test", "--access-key",
             KEYS["AWS_ACCESS_KEY_ID"], "--secret-key", KEYS["AWS_SECRET_ACCESS_KEY"])  # fmt: skip
        stack.enter_context(process(["/usr/bin/radosgw", *conf, "-f"], log, **path))
        wait_for(gateway, 60)
        make_bucket(f"http://127.0.0.1:{gateway}")
        yield f"http://127.0.0.1:{gateway}"


@contextmanager
def spoilt(endpoint: str, folder: Path, share: float, *options: str) -> Iterator[str]:
    """A proxy before ``endpoint`` that spoils a share of the requests (``s3_proxy``); yields its endpoint."""
    port = free_port()
    with process(
        [sys.executable, str(Path(__file__).with_name("s3_proxy.py")), str(port), endpoint, str(share), *options],
        folder / "proxy.log",
    ):
        wait_for(port, 30)
        yield f"http://127.0.0.1:{port}"


def make_bucket(endpoint: str) -> None:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    client.create_bucket(Bucket=BUCKET)
