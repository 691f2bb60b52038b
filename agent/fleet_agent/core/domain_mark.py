"""What a domain carries of ours in its <metadata>.

Two elements of our own namespaces: the mark (fleet uid, index, generation, birth, term, epoch),
written at define, and the readiness seen, added when the domain has become ready. Whatever
carries no mark is not ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from fleet_agent.core.model import Batch, Kin, Mark

MARK_NAMESPACE = "urn:megafleet:vm:1"
READY_NAMESPACE = "urn:megafleet:ready:1"


@dataclass(frozen=True, slots=True)
class Marked:
    """The mark of one domain."""

    kin: Kin
    index: int
    mark: Mark


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
        f"{{{MARK_NAMESPACE}}}vm",
        {
            "uid": batch.kin.fleet_uid,
            "index": str(index),
            "generation": str(batch.kin.generation),
            "birth": str(batch.kin.birth),
            "term": "{}:{}".format(*batch.mark.term),
            "epoch": "{}:{}".format(*batch.mark.epoch),
        },
        nsmap={"fleet": MARK_NAMESPACE},
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


def parse_mark(domain: etree._Element) -> Marked | None:
    """The mark in a domain's XML; None when it carries none that is whole."""
    element = domain.find(f"metadata/{{{MARK_NAMESPACE}}}vm")
    if element is None:
        return None
    try:
        return Marked(
            Kin(_word(element, "uid"), _number(element, "generation"), _number(element, "birth")),
            _number(element, "index"),
            Mark(_pair(element, "term"), _pair(element, "epoch")),
        )
    except ValueError:
        return None


def parse_ready(domain: etree._Element) -> ReadySeen | None:
    """The last readiness seen according to a domain's XML, of whatever life."""
    element = domain.find(f"metadata/{{{READY_NAMESPACE}}}ready")
    if element is None:
        return None
    try:
        inode, read = _pair(element, "log")
        return ReadySeen(_word(element, "boot"), _number(element, "domain"), inode, read)
    except ValueError:
        return None


def parsed(xml: str) -> etree._Element:
    """A domain's XML as elements; entities stay unresolved, and nothing is fetched."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return etree.fromstring(xml.encode(), parser)


def _word(element: etree._Element, attribute: str) -> str:
    word = element.get(attribute)
    if not word:
        raise ValueError(f"{attribute} is missing")
    return word


def _number(element: etree._Element, attribute: str) -> int:
    number = int(_word(element, attribute))
    if number < 0:
        raise ValueError(f"{attribute} is negative")
    return number


def _pair(element: etree._Element, attribute: str) -> tuple[int, int]:
    first, _, second = _word(element, attribute).partition(":")
    return int(first), int(second)
