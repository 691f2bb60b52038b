"""The documents are true where a machine can tell: names, links, commands, tables."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import RolloutState
from fleet_controller.store import keys
from fleetctl.main import COMMANDS, run
from fleetctl.outcome import ExitCode
from fleetctl.output import STATES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
MODULES = [
    path
    for top in ("proto", "controller", "agent", "deploy", "tests", "docs")
    for path in (ROOT / top).rglob("*.py")
]
VIEWS = sorted((ROOT / "controller" / "fleetctl" / "views").rglob("[a-z]*.py"))
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("README.md"),
    ]
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = document.parent / path if path else document
        assert found.exists(), target
        if anchor:
            assert anchor in _anchors(found), target


@each_document
def test_make_targets_exist(document: Path) -> None:
    named = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text(), re.MULTILINE))
    assert named <= _targets()


@each_document
def test_paths_of_the_checkout_exist(document: Path) -> None:
    text = document.read_text()
    for path in re.findall(r"`((?:deploy|tests|docs|proto|controller|agent)/[^`\s]*)`", text):
        if "<" in path or "/out/" in path:  # a pattern with a gap, or what a build makes
            continue
        assert any(ROOT.glob(path.rstrip("/"))), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_are_named_exist(document: Path) -> None:
    """By the end of their path."""
    for name in re.findall(r"`([a-z_/]+\.py)`", document.read_text()):
        assert any(f"/{path.relative_to(ROOT)}".endswith(f"/{name}") for path in MODULES), name


def test_the_readme_shows_commands_that_exist_with_options_that_they_have() -> None:
    shown = list(_shown_commands())
    assert len(shown) > 10
    for words in shown:
        # Help is given only once all words before it are understood.
        assert run([*words, "--help"]) == ExitCode.DONE, words


def test_the_readme_lists_every_command() -> None:
    rows = _table_after(README, "| command | what it does |")
    listed = [
        shlex.split(name)[0] for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert sorted(listed) == sorted(COMMANDS)


def test_the_readme_lists_every_exit_code() -> None:
    rows = _table_after(README, "| exit code | meaning |")
    assert [int(row.split("|")[1]) for row in rows] == sorted(map(int, ExitCode))


def test_there_is_a_reason_for_every_dependency() -> None:
    rows = _table_after((ROOT / "docs/dependencies.md").read_text(), "| package | choice | why |")
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert named == _dependencies()


def test_what_is_depended_on_is_locked() -> None:
    for lock, names in (
        ("requirements.lock", _dependencies() - {"libvirt-python"}),
        ("requirements-dev.lock", _dependencies() | _group("dev")),
        ("deploy/build.lock", _group("build")),
    ):
        locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / lock).read_text(), re.MULTILINE))
        assert names <= locked, f"{lock} is older than pyproject.toml: run 'make lock'"


def test_the_architecture_names_every_key_of_the_store() -> None:
    assert keys.__doc__
    kept = {row.split("|")[1].strip().split("/")[0] for row in _rows(keys.__doc__)[2:]}
    told = set(re.findall(r"^\| etcd `([a-z]+)", ARCHITECTURE, re.MULTILINE))
    assert told == kept


def test_decisions_are_numbered_without_a_gap() -> None:
    for number, decision in enumerate(DECISIONS, start=1):
        assert decision.name.startswith(f"{number:04d}-")
        assert decision.read_text().startswith(f"# {number:04d} ")


def test_operations_tells_what_to_do_about_every_state_and_problem() -> None:
    """Whatever a status can show under `states`, `problems`, `unplaced_reasons` and `hosts`."""
    told = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    health = {name[12:].lower() for name in cluster.HostHealth.keys()[1:]}
    known = {*STATES, *RolloutState, *health, *_problem_kinds(), *_unplaced_reasons()}
    assert len(known) > 45
    assert known - told <= {"running", "live", "done"}


def test_the_json_reference_names_every_key_of_a_view() -> None:
    told = set(re.findall(r"`([a-z0-9_]+)`", (ROOT / "docs/reference/json.md").read_text()))
    assert len(VIEWS) > 10
    for view in VIEWS:
        keys_of_dicts = {
            key.value
            for one in ast.walk(ast.parse(view.read_text()))
            if isinstance(one, ast.Dict)
            for key in one.keys
            if isinstance(key, ast.Constant) and str(key.value).islower()
        }
        assert keys_of_dicts <= told, view.name


def _problem_kinds() -> set[str]:
    """As the drivers' ports, the agent and the leader name them."""
    agent, controller = ROOT / "agent" / "fleet_agent", ROOT / "controller" / "fleet_controller"
    ports = re.sub(
        r"\([^)]*\)",
        "",
        "".join(one.read_text() for one in (agent / "drivers" / "ports").glob("*.py")),
    )
    lists = re.findall(r"[Kk]inds: ([^.]+)\.", ports)
    kinds = {kind for one in lists for kind in re.findall(r"[a-z_]+", one)}
    own = [*(agent / "reconcile").glob("*.py"), *(agent / "core").rglob("*.py")]
    calls = r"(?:kind=|StepFailure\(index, )\"([a-z_]+)\""
    kinds |= {kind for path in own for kind in re.findall(calls, path.read_text())}
    answers = (controller / "queries" / "fleets.py").read_text()
    return kinds | set(re.findall(r"\"((?:host|assignment)_[a-z_]+)\"", answers))


def _unplaced_reasons() -> set[str]:
    folder = ROOT / "controller" / "fleet_controller" / "core" / "placement"
    found = re.findall(r"nplaced\(\s*\"([a-z_]+)\"", (folder / "unplaced.py").read_text())
    found += re.findall(r"_placed\(rest, \"([a-z_]+)\"", (folder / "unplaced.py").read_text())
    found += re.findall(r"reason = \"([a-z_]+)\"", (folder / "conditions.py").read_text())
    return {*found, "per_host", "capacity"}


@pytest.mark.parametrize(
    "image", sorted((ROOT / "docs" / "images").glob("*.svg")), ids=lambda path: str(path.name)
)
def test_pictures_fetch_nothing(image: Path) -> None:
    text = image.read_text()
    assert not re.search(r"@font-face|@import|url\(['\"]?http|href=", text)


def _anchors(document: Path) -> set[str]:
    """Of headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _targets() -> set[str]:
    files = (ROOT / "Makefile", *(ROOT / "deploy").glob("*/*.mk"))
    return {
        target
        for file in files
        for line in re.findall(r"^\.PHONY: (.+)$", file.read_text(), re.MULTILINE)
        for target in line.split()
    }


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def _table_after(text: str, head: str) -> list[str]:
    """The rows of the table with this head."""
    _, found, rest = text.partition(f"{head}\n")
    assert found, head
    table = rest.split("\n\n")[0]
    return _rows(table)[1:]


def _shown_commands() -> Iterator[list[str]]:
    """The words of every fleetctl command in the blocks of the README and of what it points at."""
    by_hand = (ROOT / "docs/cluster-by-hand.md").read_text()
    for block in re.findall(r"(?:^ {4}.*\n)+", f"{README}\n{by_hand}", re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "fleetctl":
                yield words[1:]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0].lower()


def _project() -> dict[str, dict[str, list[str]]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        read = tomllib.load(file)
    project = read["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    return {"runs": wanted, "groups": read["dependency-groups"]}


def _dependencies() -> set[str]:
    return {_name(one) for extra in _project()["runs"].values() for one in extra}


def _group(name: str) -> set[str]:
    return {_name(one) for one in _project()["groups"][name]}
