"""What follows from (fleet, index) is each VM's own."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.identity import MAX_FLEET_NUMBER, MAX_INDEX, MAX_NIC, MAX_SITE, Fleet

UID = "8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10"
# Site, fleet number, index and interface.
Place = tuple[int, int, int, int]
LIMITS: Place = (MAX_SITE, MAX_FLEET_NUMBER, MAX_INDEX, MAX_NIC)
PLACES: st.SearchStrategy[Place] = st.tuples(
    *(st.integers(0, most) | st.sampled_from([0, 1, most]) for most in LIMITS)
)


def mac(place: Place) -> str:
    site, number, index, nic = place
    return Fleet(UID, "spv", number, site).mac(index, nic)


def test_interfaces_differ_in_the_first_octet() -> None:
    assert [mac((1, 7, 250, nic)) for nic in range(3)] == [
        "02:10:07:00:00:fa",
        "06:10:07:00:00:fa",
        "0a:10:07:00:00:fa",
    ]


@given(PLACES, PLACES)
def test_two_interfaces_never_share_a_mac_address(one: Place, other: Place) -> None:
    assert (mac(one) == mac(other)) == (one == other)


@given(PLACES)
def test_a_mac_address_is_locally_administered_and_unicast(place: Place) -> None:
    octets = [int(octet, 16) for octet in mac(place).split(":")]
    assert len(octets) == 6
    assert octets[0] & 0b11 == 0b10


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("beyond", [-1, 1])
def test_what_does_not_fit_is_refused(part: int, beyond: int) -> None:
    place = [0, 0, 0, 0]
    place[part] = beyond if beyond < 0 else LIMITS[part] + 1
    with pytest.raises(ValueError, match=r"outside|too many bits"):
        mac((place[0], place[1], place[2], place[3]))


@pytest.mark.parametrize(
    ("index", "prefix", "address"),
    [(0, "10.0.0.0/8", "10.0.0.2/8"), (250, "10.77.0.0/16", "10.77.0.252/16"),
     (7, "fd00::/64", "fd00::9/64")],
)  # fmt: skip
def test_an_interface_is_given_its_address_with_the_prefixs_length(
    index: int, prefix: str, address: str
) -> None:
    assert Fleet(UID, "spv", 1).interface_address(index, prefix) == address


def test_a_prefix_that_is_too_small_has_no_address() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/30 has no address for index 1"):
        Fleet(UID, "spv", 1).interface_address(1, "10.0.0.0/30")


def test_a_base_for_mac_addresses_has_the_index_added_to_its_last_three_octets() -> None:
    fleet = Fleet(UID, "spv", 7)
    assert fleet.interface_mac(5, 1, "") == fleet.mac(5, 1)
    assert fleet.interface_mac(0, 0, "00:16:3E:00:00:FE") == "00:16:3e:00:00:fe"
    assert fleet.interface_mac(2, 3, "00:16:3E:00:00:FE") == "00:16:3e:00:01:00"
    assert fleet.interface_mac(MAX_INDEX, 0, "00:16:3e:00:00:00") == "00:16:3e:ff:ff:ff"


def test_a_base_without_room_for_the_index_is_refused_and_never_runs_into_the_next_maker() -> None:
    fleet = Fleet(UID, "spv", 7)
    assert fleet.interface_mac(1, 0, "00:16:3e:ff:ff:fe") == "00:16:3e:ff:ff:ff"
    with pytest.raises(ValueError, match="mac_base 00:16:3e:ff:ff:fe has no address for index 2"):
        fleet.interface_mac(2, 0, "00:16:3e:ff:ff:fe")


@pytest.mark.parametrize("base", ["a", "00:16:3e:00:00", "00:16:3e:00:00:0_1", " 0:16:3e:00:00:00"])
def test_what_is_no_address_is_no_base(base: str) -> None:
    with pytest.raises(ValueError, match="is no MAC address"):
        Fleet(UID, "spv", 7).interface_mac(0, 0, base)


@given(st.uuids(), st.integers(0, MAX_INDEX))
def test_a_uuid_is_of_version_5_in_the_fleets_namespace(uid: uuid.UUID, index: int) -> None:
    fleet = Fleet(str(uid), "spv", 7)
    assert fleet.domain_uuid(index) == uuid.uuid5(uid, str(index))
    assert fleet.domain_uuid_text(index) == str(fleet.domain_uuid(index))
