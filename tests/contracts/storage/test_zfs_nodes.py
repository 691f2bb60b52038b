"""Links to zvols' nodes, on a folder that stands for /dev: files for nodes, real links."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_agent.drivers.zfs.nodes import Node, NodeLinks, node_at


def zvol_in(path: Path) -> Node | None:
    """A node here is a file that holds its volume's name."""
    name = path.read_text()
    return Node(name, 1) if name else None


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    (tmp_path / "zd0").write_text("tank/golden")
    (tmp_path / "zd16").write_text("tank/spv-0")
    (tmp_path / "zd16p1").write_text("tank/spv-0")
    (tmp_path / "zd32").write_text("tank/spv-1")
    return tmp_path


@pytest.fixture
def links(dev: Path) -> NodeLinks:
    return NodeLinks(dev, dev / "zvol", zvol_in)


def linked(dev: Path) -> dict[str, str]:
    return {path.name: str(path.readlink()) for path in (dev / "zvol" / "tank").glob("*")}


def test_awaited_volumes_alone_are_linked_as_udev_links_them(dev: Path, links: NodeLinks) -> None:
    links.make({"tank/spv-0", "tank/spv-7"})
    assert linked(dev) == {"spv-0": "../../zd16"}
    assert (dev / "zvol" / "tank" / "spv-0").read_text() == "tank/spv-0"


def test_a_link_to_a_node_of_another_volume_is_made_anew(dev: Path, links: NodeLinks) -> None:
    links.make({"tank/spv-0", "tank/spv-1"})
    # Both are gone, and the number of one is used again for the other.
    for name in ("zd16", "zd32"):
        (dev / name).rename(dev / f"old {name}")
    (dev / "zd16").write_text("tank/spv-1")
    links.make({"tank/spv-1"})
    assert linked(dev)["spv-1"] == "../../zd16"


def test_a_node_that_does_not_open_yet_is_looked_at_again(dev: Path, links: NodeLinks) -> None:
    (dev / "zd48").write_text("")
    links.make({"tank/spv-2"})
    assert not (dev / "zvol" / "tank" / "spv-2").is_symlink()
    (dev / "zd48").write_text("tank/spv-2")
    links.make({"tank/spv-2"})
    assert linked(dev) == {"spv-2": "../../zd48"}


def test_what_is_there_already_is_left_as_it_is(dev: Path, links: NodeLinks) -> None:
    links.make({"tank/spv-0"})
    before = (dev / "zvol" / "tank" / "spv-0").lstat()
    links.make({"tank/spv-0"})
    assert (dev / "zvol" / "tank" / "spv-0").lstat() == before


def test_a_folder_without_nodes_links_nothing(tmp_path: Path) -> None:
    NodeLinks(tmp_path / "none", tmp_path / "zvol", zvol_in).make({"tank/spv-0"})
    assert not (tmp_path / "zvol").exists()


def test_a_plain_file_is_no_zvols_node(dev: Path) -> None:
    assert node_at(dev / "zd16") is None
    assert node_at(dev / "zd99") is None
