"""A controller and real agents as processes, which hand images to one another."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.image_content.manifest import (
    CHUNK,
    numbers_in,
)
from fleet.image_content.packing import packed
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.doubles.image_manifests import manifest_for
from tests.processes.agent.agent_processes import RealAgent
from tests.processes.daemons import Controller, Daemon, channel_to, eventually, stub_for
from tests.processes.etcd_process import EtcdProcess, free_ports

SECONDS = 180.0


class Agent(Daemon):
    """A fleet-agent over libvirt's test driver and files, at an address that it keeps."""

    def __init__(self, folder: Path, name: str, controller: str, rack: str) -> None:
        super().__init__(name, folder)
        kernels = folder / "kernels"
        (folder / "agent.toml").write_text(f'kernel_folders = ["{kernels}"]\n')
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        self._agent = RealAgent(folder, name, controller, listen)
        self._rack = rack
        (folder / "storage").mkdir(exist_ok=True)

    def start(self) -> None:
        self.launch(
            "fleet-agent", "--config", str(self.folder / "agent.toml"), *self._agent.arguments(),
            "--label", f"rack={self._rack}", "--log-json",
        )  # fmt: skip

    @property
    def images(self) -> Path:
        return self.folder / "storage" / "images"

    @property
    def staged(self) -> Path | None:
        """The disk that is being fetched."""
        return next(iter((self.folder / "storage" / "fetched").glob("*.disk")), None)

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]


class Agents:
    """etcd, one controller, and agents called dom0-1, dom0-2, ... in racks of four."""

    def __init__(self, folder: Path, count: int) -> None:
        self.etcd = EtcdProcess(folder / "etcd")
        self.controller = Controller(folder / "controller", f"etcd://{self.etcd.endpoint}")
        address = self.controller.address
        self.agents = [
            Agent(folder / f"dom0-{one}", f"dom0-{one}", address, f"r{(one - 1) // 4}")
            for one in range(1, count + 1)
        ]
        self._channel = channel_to(address)
        self.stub = stub_for(self._channel)

    @contextmanager
    def running(self) -> Iterator[Agents]:
        try:
            self.etcd.start()
            self.controller.start()
            for one in self.agents:
                one.start()
            eventually(self.all_live, f"{len(self.agents)} hosts are live", SECONDS)
            yield self
        finally:
            self._channel.close()
            for one in self.agents:
                one.kill()
            self.controller.kill()
            self.etcd.kill()

    def all_live(self) -> bool:
        for one in self.agents:
            one.must_run()
        status = self.stub.Status(cluster.StatusRequest(), timeout=10)
        return bool(status.hosts.live == len(self.agents))

    def __getitem__(self, name: str) -> Agent:
        return next(one for one in self.agents if one.name == name)

    def put(self, host: str, image: types.Image, disk: bytes) -> agent.PutImageAnswer:
        """The last word of an upload."""
        manifest = manifest_for(disk=disk)
        wanted: list[int] = []
        known = threading.Event()

        def requests() -> Iterator[cluster.HostPutImageRequest]:
            first = agent.PutImageRequest(manifest=manifest.message(image))
            yield cluster.HostPutImageRequest(host=host, put=first)
            known.wait()
            for number in wanted:
                data = packed(disk[number * CHUNK : (number + 1) * CHUNK])
                put = agent.PutImageRequest(
                    number=number, data=data.data, compressed=data.compressed
                )
                yield cluster.HostPutImageRequest(put=put)

        last = agent.PutImageAnswer()
        try:
            for answer in self.stub.PutImage(requests(), timeout=SECONDS):
                last = answer.answer
                if not known.is_set():
                    wanted += numbers_in(last.wanted, manifest.count)
                    known.set()
        finally:
            known.set()
        return last

    def spread(self, **request: Any) -> Spreading:
        return Spreading(self.stub.SpreadImage(cluster.SpreadImageRequest(**request)))


class Spreading:
    """A spread that is followed by a thread."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.told: list[cluster.SpreadProgress] = []
        self.began = time.monotonic()
        self.seconds = 0.0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for one in self._call:
                self.told.append(one)
                self.seconds = time.monotonic() - self.began
        except Exception as error:
            self.error = error

    @property
    def now(self) -> cluster.SpreadProgress:
        return self.told[-1] if self.told else cluster.SpreadProgress()

    def ended(self) -> cluster.SpreadProgress:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), self.now
        if self.error:
            raise self.error
        return self.now

    def cancel(self) -> None:
        self._call.cancel()
        self._thread.join(SECONDS)


def digest_of(disk: bytes) -> str:
    return f"sha256:{hashlib.sha256(disk).hexdigest()}"


def random_disk(mib: int) -> bytes:
    """A quarter of it zeros; the rest cannot be compressed."""
    whole = bytearray(os.urandom(mib << 20))
    for at in range(3, mib, 4):
        whole[at << 20 : (at + 1) << 20] = bytes(1 << 20)
    whole[510:512] = b"\x55\xaa"
    return bytes(whole)
