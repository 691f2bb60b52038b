"""Dates as they stand in a certificate: two forms, both to the second and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.certificates.authorities import as_pem
from fleet.certificates.certificate import read_certificate

BEGIN = datetime(1951, 2, 3, 4, 5, 6, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def der(begin: datetime, end: datetime) -> bytes:
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, begin, end)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("year", [1950, 1969, 1999, 2000, 2026, 2049, 2050, 9999])
def test_years_are_those_of_rfc_5280(year: int) -> None:
    """Up to 2049 they have two digits, and 50 is 1950."""
    begin = BEGIN.replace(year=year)
    end = begin + timedelta(seconds=59)
    read = read_certificate(as_pem(der(begin, end)))
    assert (read.not_before, read.not_after) == (begin, end)


@pytest.mark.parametrize(
    "date",
    ["261332040506Z", "260203040506+", "26020304050 Z", "2602030405060", "260203246060Z"],
)
def test_what_is_no_date_is_refused_in_words(date: str) -> None:
    good = der(datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert good.count(b"260203040506Z") == 1
    body = as_pem(good.replace(b"260203040506Z", date.encode()))
    with pytest.raises(ValueError, match="its dates are none"):
        read_certificate(body)
