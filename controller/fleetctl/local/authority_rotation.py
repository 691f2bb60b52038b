"""An authority that is replaced while everything runs, in three steps.

First everybody trusts two; then all certificates are made anew by the next one; then everybody
trusts that alone. Folders that are given are changed as they lie here; controllers take that into
use by themselves, and tell hosts, which renew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from fleet.certificates.certificate import read_certificate
from fleet.certificates.host_issuer import ISSUING_FILE
from fleet.peers import NoRole, holder_of
from fleet.transport import DOMAIN, Identity
from fleetctl.local.certificate_authority import (
    CA_FILE,
    CA_KEY_FILE,
    CERT_FILE,
    KEY_FILE,
    Authority,
    AuthorityError,
    write_issuing,
)
from fleetctl.local.key_files import flush, write_private, write_public

NEXT, TRUST_FILE = "next", "trust.pem"


def begin(where: Path, folders: Iterable[Path], name: str, valid: timedelta) -> Path:
    """Makes the next authority, and has the folders trust both. Begun again it goes on with the
    one that there is. The file with both. Raises AuthorityError, OSError."""
    now = Authority.load(where)
    if not (where / NEXT / CA_FILE).exists():
        Authority.create(name, valid).save(where / NEXT)
    both = now.certificate + Authority.load(where / NEXT).certificate
    write_public(where / TRUST_FILE, both)
    for folder in folders:
        _trusts(folder, both)
    return where / TRUST_FILE


def reissue(where: Path, folders: Iterable[Path], valid: timedelta) -> None:
    """Each folder's certificate, or its issuing key, anew by the next authority, with a new key and
    the names that it has. Raises AuthorityError, OSError."""
    following = _following(where)
    for folder in folders:
        if (folder / ISSUING_FILE).exists():
            write_issuing(folder, following.issue_issuing(valid))
        else:
            _reissue(following, folder, valid)


def finish(where: Path, folders: Iterable[Path]) -> Path:
    """The folders trust the next authority alone, which takes the place of the former. Where that
    one lies now. Ended halfway, it goes on. Raises AuthorityError, OSError."""
    following = _following(where)
    for folder in folders:
        _check_signed_by(following, folder)
    for folder in folders:
        _trusts(folder, following.certificate)
    former = _put_aside(where)
    following.save(where)
    # Of the next one no other copy is left below.
    flush(where / CA_KEY_FILE, where / CA_FILE, former / CA_KEY_FILE, former / CA_FILE)
    # The key first: `_following` asks for it.
    for name in (CA_KEY_FILE, CA_FILE):
        (where / NEXT / name).unlink(missing_ok=True)
    if (where / NEXT).exists():
        (where / NEXT).rmdir()
    (where / TRUST_FILE).unlink(missing_ok=True)
    return former


def _put_aside(where: Path) -> Path:
    """A copy of the former one, made once: what is here may have become the next one already."""
    copies = sorted(where.glob("former-*"))
    for copy in copies:
        if _is_same(copy / CA_FILE, where / CA_FILE):
            return copy
    if copies and _is_in_place(where):
        return copies[-1]
    former = where / f"former-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    former.mkdir(mode=0o700, exist_ok=True)
    # Its certificate last: it says that the copy is whole.
    write_private(former / CA_KEY_FILE, (where / CA_KEY_FILE).read_bytes())
    write_public(former / CA_FILE, (where / CA_FILE).read_bytes())
    return former


def _is_in_place(where: Path) -> bool:
    """Whether the certificate here is the next one's: the last of the two that all trust."""
    try:
        return (where / TRUST_FILE).read_bytes().endswith((where / CA_FILE).read_bytes())
    except FileNotFoundError:
        return False


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except FileNotFoundError:
        return False


def _following(where: Path) -> Authority:
    if (where / NEXT / CA_KEY_FILE).exists() and (where / NEXT / CA_FILE).exists():
        return Authority.load(where / NEXT)
    if _is_in_place(where):
        return Authority.load(where)
    raise AuthorityError(
        f"no authority is about to follow that in {where}: begin with 'fleetctl certs rotate begin'"
    )


def _trusts(folder: Path, authorities: bytes) -> None:
    """Raises AuthorityError for what is no folder of an identity."""
    if not (folder / CERT_FILE).exists():
        raise AuthorityError(f"{folder} has no {CERT_FILE}: it is no folder of an identity")
    write_public(folder / CA_FILE, authorities)


def _reissue(following: Authority, folder: Path, valid: timedelta) -> None:
    file = folder / CERT_FILE
    try:
        pem = file.read_bytes()
        holder = holder_of(read_certificate(pem))
        names = _further_names(pem)
    except (ValueError, NoRole) as error:
        raise AuthorityError(f"{file}: {error}") from error
    made: Identity = following.identity(holder.role, holder.name, names, valid)
    write_private(folder / KEY_FILE, made.key)
    write_public(file, made.certificate)


def _further_names(pem: bytes) -> list[str]:
    """Where it is reached, beside whom it names."""
    found = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    dns = found.value.get_values_for_type(x509.DNSName)
    others = [name for name in dns if not name.endswith(f".{DOMAIN}")]
    return others + [str(one) for one in found.value.get_values_for_type(x509.IPAddress)]


def _check_signed_by(following: Authority, folder: Path) -> None:
    """Raises AuthorityError for who would be nobody from now on."""
    if (folder / ISSUING_FILE).exists():
        raise AuthorityError(f"{folder} has an issuing key, and trusts nobody: leave it out")
    file = folder / CERT_FILE
    root = x509.load_pem_x509_certificate(following.certificate)
    try:
        x509.load_pem_x509_certificate(file.read_bytes()).verify_directly_issued_by(root)
    except Exception as error:
        raise AuthorityError(
            f"{file} is not by the next authority yet: 'fleetctl certs rotate reissue {folder}' "
            "first"
        ) from error
