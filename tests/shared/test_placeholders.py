"""Placeholders, user data and values by index: what is data stays data."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.template.identity_fields import value_of, values_problem, wrong_identity
from fleet.template.placeholders import PLACEHOLDERS, filled, longest, placeholder_problem
from fleet.template.user_data import BadUserData, UserData
from fleet.v1 import types_pb2 as types

HOSTILE = "x\"'\\<&>: - # | > %@`{}[]\u00e9 ]]>"


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("{name}", "vm"),
        ("{{name}}", "{name}"),
        ("{{{name}}}", "{vm}"),
        ("a{{b", "a{b"),
        ("{{{{}}}}", "{{}}"),
    ],
)
def test_doubled_braces_are_braces(text: str, becomes: str) -> None:
    assert placeholder_problem(text, tuple(PLACEHOLDERS)) is None
    assert filled(text, {"name": "vm"}) == becomes


@given(st.text(alphabet="{}na ", max_size=12))
def test_what_has_nothing_wrong_has_no_braces_left_but_doubled_ones(text: str) -> None:
    if placeholder_problem(text, ("na",)) is None:
        assert filled(text, {"na": ""}).count("{") == text.count("{{")


def test_what_the_longest_vm_needs_is_known_beforehand() -> None:
    assert longest("{name}{{") == len("a" * 40 + "-16777215{")


def values(**lists: list[str]) -> dict[str, types.VmValues]:
    return {name: types.VmValues(texts=texts) for name, texts in lists.items()}


class TestValuesByIndex:
    def test_a_list_and_a_range_begin_anew_where_they_end(self) -> None:
        roles, ports = types.VmValues(texts=["a", "b"]), types.VmValues(start=8000, stop=8003)
        assert [value_of(roles, index) for index in range(3)] == ["a", "b", "a"]
        assert [value_of(ports, index) for index in (0, 2, 3)] == ["8000", "8002", "8000"]

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (values(name=["x"]), "'name' is a placeholder already"),
            (values(**{"A b": ["x"]}), "must be 1 to 32 lower-case letters"),
            (values(a=[]), "must be 1 to 1024 texts"),
            (values(a=["x"] * 1025), "must be 1 to 1024 texts"),
            (values(a=["x\ny"]), "must be texts of one line"),
            (values(a=["x" * 257]), "must be texts of one line"),
            (values(**{f"a{n}": ["x"] for n in range(17)}), "must be at most 16; got 17"),
            (values(a=["x" * 250] * 300), "must be at most 64 KiB in all"),
            ({"a": types.VmValues(start=2, stop=1)}, "or a range such as 8000-8999"),
            ({"a": types.VmValues(stop=2**60)}, "or a range such as 8000-8999"),
        ],
    )
    def test_they_are_bounded(self, given: dict[str, types.VmValues], says: str) -> None:
        assert says in (values_problem(given) or "")


class TestUserData:
    def test_without_placeholders_it_stays_as_it_is_byte_by_byte(self) -> None:
        text = "#cloud-config\n# mine\nruncmd: [ 'a' ]   # spaced\n"
        assert UserData(text).filled({"name": "x"}) == text

    @given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40))
    def test_a_value_in_a_cloud_config_stays_one_text(self, value: str) -> None:
        data = UserData("#cloud-config\na: '{v}'\nb: |\n  {v} .\nc: [x, '{v}']\nd: {k: '{v}'}\n")
        read = yaml.safe_load(data.filled({"v": value}))
        assert read["a"] == value and read["c"][1] == value and read["d"]["k"] == value
        assert read["b"] == f"{value} .\n"

    def test_a_hostile_value_adds_no_key(self) -> None:
        data = UserData('#cloud-config\nnote: "{v}"\n')
        assert yaml.safe_load(data.filled({"v": HOSTILE})) == {"note": HOSTILE}

    def test_a_number_in_quotes_stays_a_text(self) -> None:
        data = UserData("#cloud-config\nwrite_files: [{content: '{index}'}]\n")
        read = yaml.safe_load(data.filled({"index": "7"}))
        assert read["write_files"][0]["content"] == "7"

    def test_a_script_is_filled_in_as_it_stands(self) -> None:
        data = UserData("#!/bin/sh\nf() {{ echo {name}; }}\n")
        assert data.problem(("name",)) is None
        assert data.filled({"name": "vm-1"}) == "#!/bin/sh\nf() { echo vm-1; }\n"

    def test_verbatim_is_never_touched(self) -> None:
        text = "#cloud-config\n{not: yaml: ${name} {{"
        data = UserData(text, verbatim=True)
        assert data.problem(("name",)) is None and data.filled({"name": "x"}) == text

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("#!/bin/sh\necho ${name}", "write ${{name}} for the shell's variable"),
            ("#!/bin/sh\nf() { :; }", "is no placeholder"),
            ("#!/bin/sh\necho {", "a brace stands alone"),
            ("## template: jinja\n#cloud-config\na: b", "a jinja template has braces of its own"),
            ("#cloud-config\nfqdn: {name}\n", "write '{name}' in quotes"),
            ("#cloud-config\nruncmd:\n- awk '{print}'", "is no placeholder"),
        ],
    )
    def test_what_is_likely_a_mistake_is_refused_with_the_way_out(
        self, text: str, says: str
    ) -> None:
        problem = UserData(text).problem(("name", "index"))
        assert problem is not None and says in problem

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("#cloud-config\na: [", "line 3: not YAML"),
            ("#cloud-config\n" + "[" * 5000, "nested more than 64 deep"),
            ("#cloud-config\na: \x07", "not YAML"),
            ("#cloud-config\na: *b", "not YAML"),
        ],
    )
    def test_a_cloud_config_that_is_none_is_refused(self, text: str, says: str) -> None:
        with pytest.raises(BadUserData, match=says):
            UserData(text)

    def test_aliases_cost_no_more_than_they_say(self) -> None:
        bomb = "#cloud-config\na0: &a0 ['{name}']\n" + "".join(
            f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
        )
        assert len(UserData(bomb).filled({"name": "x"})) < 10_000


class TestIdentity:
    @pytest.mark.parametrize(
        ("identity", "says"),
        [
            (types.Identity(hostname="{nmae}"), "identity.hostname: '{nmae}' is no placeholder"),
            (types.Identity(hostname="-{name}"), "which is no host name"),
            (types.Identity(hostname="a..{name}"), "which is no host name"),
            (types.Identity(hostname="{name}" * 2), "which is no host name"),
            (types.Identity(hostname="{r}", values=values(r=["a", "b c"])), "may become 'b c'"),
            (
                types.Identity(ssh_keys=["x" * 8000] * 17),
                "identity: must be at most 128 KiB in all",
            ),
            (types.Identity(users=[types.User(name="a")] * 2), "users: a stands there twice"),
            (
                types.Identity(packages=["vim"], user_data="#cloud-config\npackages: [less]"),
                "identity.packages: the user data has packages too",
            ),
        ],
    )
    def test_what_no_vm_could_be_is_refused(self, identity: types.Identity, says: str) -> None:
        assert any(says in problem for problem in wrong_identity(identity))

    def test_a_host_name_may_have_a_domain_and_values(self) -> None:
        identity = types.Identity(hostname="{name}-{r}.lab.example", values=values(r=["a", "b"]))
        assert list(wrong_identity(identity)) == []
