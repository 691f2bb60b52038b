"""The role of ansible: what its tasks need of the machine is there before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROLE = Path(__file__).resolve().parents[2] / "deploy/ansible/roles/megafleet_host"
TASKS: list[dict[str, Any]] = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
INSTALLS = [task["ansible.builtin.apt"] for task in TASKS if "ansible.builtin.apt" in task]


def test_what_writes_the_repository_is_installed_before_it_is_written() -> None:
    kinds = [next(key for key in task if key.startswith("ansible.")) for task in TASKS]
    assert kinds.index("ansible.builtin.apt") < kinds.index("ansible.builtin.deb822_repository")
    assert INSTALLS[0]["name"] == "python3-debian"


def test_lists_of_packages_are_read_before_each_installation() -> None:
    # A run that ended in between has the repository already, and has not read its list.
    assert INSTALLS and all(one["update_cache"] is True for one in INSTALLS)
