"""What other programs are promised of megafleet.client: names, parameters, both kinds alike."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import megafleet.client
from megafleet.client import Client, SyncClient

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"
ONLY_PLAIN, ONLY_ASYNC = {"close"}, {"aclose"}


def methods(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    assert methods(Client) - ONLY_ASYNC == methods(SyncClient) - ONLY_PLAIN
    for name in methods(Client) - ONLY_ASYNC:
        awaited, plain = (inspect.signature(getattr(kind, name)) for kind in (Client, SyncClient))
        assert awaited.parameters == plain.parameters, name
        returned = str(awaited.return_annotation).replace("AsyncGenerator", "Generator")
        assert returned.removesuffix("]") in str(plain.return_annotation), name
        assert getattr(Client, name).__doc__ == getattr(SyncClient, name).__doc__, name


def test_each_name_that_is_promised_is_there_and_on_the_page() -> None:
    page = PAGE.read_text()
    for name in megafleet.client.__all__:
        assert getattr(megafleet.client, name)
        assert re.search(rf"`[^`]*\b{name}\b", page), f"docs/client.md does not name {name}"
    for name in methods(Client):
        assert re.search(rf"`(client\.)?{name}\b", page), f"docs/client.md does not name {name}"


def test_the_page_says_which_version_it_is_of() -> None:
    assert f"`__version__` is `{megafleet.client.__version__}`" in PAGE.read_text()


def test_the_package_is_typed() -> None:
    assert (Path(megafleet.client.__file__).parents[1] / "py.typed").is_file()
