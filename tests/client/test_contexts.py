"""Flags, environment, contexts file: who outranks whom, and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from megafleet.contexts import (
    ClusterContext,
    Selection,
    checked_endpoint,
    config_file,
    editing,
    load,
    resolve,
)
from megafleet.errors import Failed, InvalidArgument, Unreachable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    with editing(path) as contexts:
        for name in ("lab", "prod"):
            contexts.named[name] = ClusterContext.with_identity([f"{name}:1"], Path(f"/{name}"))
        contexts.current = "lab"
    return path


def found(file: Path, flags: Selection, **environment: str) -> tuple[tuple[str, ...], str]:
    at = resolve(flags, {"MEGAFLEET_CONFIG": str(file)} | environment)
    return at.endpoints, str(at.key)


@pytest.mark.parametrize(
    ("flags", "environment", "endpoints", "key"),
    [
        (Selection(), {}, ("lab:1",), "/lab/key.pem"),
        (Selection(), {"MEGAFLEET_CONTEXT": "prod"}, ("prod:1",), "/prod/key.pem"),
        (Selection("lab"), {"MEGAFLEET_CONTEXT": "prod"}, ("lab:1",), "/lab/key.pem"),
        (Selection(), {"MEGAFLEET_ENDPOINTS": "a:1, b:2,"}, ("a:1", "b:2"), "/lab/key.pem"),
        (Selection("prod"), {"MEGAFLEET_ENDPOINTS": "a:1"}, ("prod:1",), "/prod/key.pem"),
        (Selection(endpoints=("c:3",)), {"MEGAFLEET_ENDPOINTS": "a:1"}, ("c:3",), "/lab/key.pem"),
        (Selection(), {"MEGAFLEET_IDENTITY": "/me"}, ("lab:1",), "/me/key.pem"),
        (Selection(identity="/i"), {"MEGAFLEET_IDENTITY": "/me"}, ("lab:1",), "/i/key.pem"),
        (Selection("prod", identity="/i"), {}, ("prod:1",), "/i/key.pem"),
    ],
)
def test_flags_outrank_the_environment_and_that_the_file(
    file: Path, flags: Selection, environment: dict[str, str], endpoints: tuple[str, ...], key: str
) -> None:
    assert found(file, flags, **environment) == (endpoints, key)


def test_a_file_is_not_read_when_all_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "config.toml"
    broken.write_text("[[[")
    assert found(broken, Selection(endpoints=("c:3",), identity="/i")) == (("c:3",), "/i/key.pem")


def test_what_names_no_cluster(tmp_path: Path) -> None:
    none = tmp_path / "none.toml"
    with pytest.raises(Unreachable, match="no cluster is named"):
        found(none, Selection())
    with pytest.raises(Unreachable, match="no certificate is named"):
        found(none, Selection(endpoints=("a:1",)))
    with pytest.raises(InvalidArgument, match="there are: none"):
        found(none, Selection("lab"))


@pytest.mark.parametrize(
    "content",
    [
        "[[[",
        "current = 3",
        "contexts = 3",
        "[contexts.a]\nendpoints = ['a:1']",
        "[contexts.a]\nendpoints = []\nca = ''\ncertificate = ''\nkey = ''",
        "[contexts.a]\nendpoints = ['a']\nca = ''\ncertificate = ''\nkey = ''",
        "[contexts.a]\nendpoints = ['a:1']\nca = 1\ncertificate = ''\nkey = ''",
        "[contexts.a]\nendpoints = ['a:1']\nca = ''\ncertificate = ''\nkey = ''\nkye = ''",
    ],
)
def test_a_broken_file_is_told(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(content)
    with pytest.raises(InvalidArgument):
        load(file)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("h:1", True),
        ("[::1]:7440", True),
        ("a.example.org:65535", True),
        ("h", False),
        ("h:0", False),
        ("h:65536", False),
        ("::1:7440", False),
        ("http://h:1", False),
        ("h:1/x", False),
        ("h:1\n", False),
        (3, False),
    ],
)
def test_endpoints(text: object, good: bool) -> None:
    if good:
        assert checked_endpoint(text) == text
    else:
        with pytest.raises(InvalidArgument):
            checked_endpoint(text)


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_file({}) == tmp_path / ".config/megafleet/config.toml"
    assert config_file({"XDG_CONFIG_HOME": "rel"}) == tmp_path / ".config/megafleet/config.toml"
    assert config_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/megafleet/config.toml")
    assert config_file({"MEGAFLEET_CONFIG": "/y", "XDG_CONFIG_HOME": "/x"}) == Path("/y")


def test_what_is_written_is_read_again(file: Path) -> None:
    odd = ClusterContext(("[::1]:1", "h:2"), Path('/a "b"'), Path("/c\\d"), Path("/é"))
    with editing(file) as contexts:
        contexts.named["a.b"] = odd
    again = load(file)
    assert again.named["a.b"] == odd and again.current == "lab" and len(again.named) == 3


def test_two_editors_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "config.toml"

    def add(name: str) -> None:
        with editing(file) as contexts:
            contexts.named[name] = ClusterContext.with_identity(["h:1"], Path("/x"))

    threads = [threading.Thread(target=add, args=(f"c{number}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load(file).named) == 16


def test_an_edit_that_fails_changes_nothing(file: Path) -> None:
    before = file.read_text()
    with pytest.raises(InvalidArgument), editing(file) as contexts:
        contexts.named.clear()
        raise InvalidArgument("no")
    assert file.read_text() == before


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="cannot write"), editing(tmp_path / "file" / "config.toml"):
        pass
