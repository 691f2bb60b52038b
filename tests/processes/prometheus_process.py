"""A real Prometheus with our own rules and scrape configuration, made quick for tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.processes.daemons import eventually
from tests.processes.etcd_process import free_ports

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "rules" / "megafleet.rules.yml"
SCRAPE_SECONDS = 0.5
# A minute of an alarm's patience is so long here.
MINUTE = 1.0
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def quickened(rules: dict[str, Any]) -> dict[str, Any]:
    """The same rules, with a patience of seconds for what has one of minutes."""
    for group in rules["groups"]:
        group["interval"] = f"{int(SCRAPE_SECONDS * 1000)}ms"
        for rule in group["rules"]:
            if "for" in rule:
                number, unit = re.fullmatch(r"(\d+)([smhd])", rule["for"]).groups()  # type: ignore[union-attr]
                seconds = int(number) * _UNITS[unit] / 60 * MINUTE
                rule["for"] = f"{int(seconds * 1000)}ms"
    return rules


class Prometheus:
    """Used as a context. `controllers`: where they serve metrics."""

    def __init__(self, folder: Path, controllers: Sequence[str]) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._address = f"127.0.0.1:{free_ports(1)[0]}"
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        every = f"{int(SCRAPE_SECONDS * 1000)}ms"
        config["global"] = {"scrape_interval": every, "evaluation_interval": every}
        ours, agents = config["scrape_configs"]
        ours["static_configs"][0]["targets"] = list(controllers)
        agents["scrape_interval"] = every
        agents["http_sd_configs"] = [
            {"url": f"http://{one}/hosts", "refresh_interval": "1s"} for one in controllers
        ]
        (folder / "rules").mkdir()
        rules = quickened(yaml.safe_load(RULES.read_text()))
        (folder / "rules" / RULES.name).write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Prometheus:
        program = shutil.which("prometheus")
        assert program
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program, f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._address}",
                ],
                stdout=log, stderr=log, cwd=self._folder,
            )  # fmt: skip
        try:
            eventually(self._ready, "Prometheus serves")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
        try:
            self.asked("vector(1)")
        except OSError:
            return False
        return True

    def asked(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(
            f"http://{self._address}/api/v1/query?{query}", timeout=10
        ) as got:
            found = json.load(got)["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def firing(self) -> set[str]:
        """Alarms that fire now, without the common beginning of their names."""
        return self._alarms('ALERTS{alertstate="firing"}')

    def fired(self, seconds: float) -> set[str]:
        """Those that have fired within so many seconds."""
        return self._alarms(f'count_over_time(ALERTS{{alertstate="firing"}}[{int(seconds)}s])')

    def _alarms(self, expression: str) -> set[str]:
        return {
            labels["alertname"].removeprefix("Megafleet") for labels, _ in self.asked(expression)
        }
