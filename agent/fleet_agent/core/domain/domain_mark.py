"""What a domain carries of ours in its <metadata>.

Three elements of our own namespaces: the mark, written at define; the readiness seen, added when
the domain has become ready; and for which restart it was last started, written before a start.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from fleet_agent.core.domain.marks import FIELDS, Marked, mark_fields, natural, pair, read_mark
from fleet_agent.core.model import Batch

MARK_NAMESPACE = "urn:megafleet:vm:1"
READY_NAMESPACE = "urn:megafleet:ready:1"
START_NAMESPACE = "urn:megafleet:start:1"


@dataclass(frozen=True, slots=True)
class ReadySeen:
    """A readiness that was seen: of which life of the domain, and how far its console was read.

    A life is one domain id in one boot of the host. `log_inode` and `log_read` (bytes) say where
    in the console's log the next life begins at the earliest; both 0 where no log was read.
    """

    boot_id: str
    domain_id: int
    log_inode: int = 0
    log_read: int = 0


def mark_element(batch: Batch, index: int) -> etree._Element:
    """The mark of one VM of a batch."""
    return etree.Element(
        f"{{{MARK_NAMESPACE}}}vm", mark_fields(batch, index), nsmap={"fleet": MARK_NAMESPACE}
    )


def ready_xml(seen: ReadySeen) -> str:
    """The element that remembers a readiness, for virDomainSetMetadata, which adds the
    namespace itself and refuses an element that has it already."""
    element = etree.Element(
        "ready",
        {
            "boot": seen.boot_id,
            "domain": str(seen.domain_id),
            "log": f"{seen.log_inode}:{seen.log_read}",
        },
    )
    return etree.tostring(element, encoding="unicode")


def start_xml(restart: int) -> str:
    """The element that remembers for which restart a domain is started; as ready_xml."""
    return etree.tostring(etree.Element("start", {"restart": str(restart)}), encoding="unicode")


def parse_restart(domain: etree._Element) -> int:
    """For which restart the domain was last started; 0 when it says none."""
    element = domain.find(f"metadata/{{{START_NAMESPACE}}}start")
    if element is None:
        return 0
    try:
        return natural(element.get("restart", ""))
    except ValueError:
        return 0


def parse_mark(domain: etree._Element) -> Marked | None:
    """The mark in a domain's XML; None when it carries none that is whole."""
    element = domain.find(f"metadata/{{{MARK_NAMESPACE}}}vm")
    if element is None:
        return None
    return read_mark({name: element.get(name, "") for name in FIELDS})


def parse_ready(domain: etree._Element) -> ReadySeen | None:
    """The last readiness seen according to a domain's XML, of whatever life."""
    element = domain.find(f"metadata/{{{READY_NAMESPACE}}}ready")
    if element is None:
        return None
    try:
        inode, read = pair(element.get("log", ""))
        return ReadySeen(element.get("boot", ""), natural(element.get("domain", "")), inode, read)
    except ValueError:
        return None


def parsed(xml: str) -> etree._Element:
    """A domain's XML as elements; entities stay unresolved, and nothing is fetched."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return etree.fromstring(xml.encode(), parser)
