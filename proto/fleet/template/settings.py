"""Which fields of a fleet's file are settings: what is done with VMs, and not what they are.

A fleet with other settings has no other template: its VMs stay of the generation that they have.
"""

from __future__ import annotations

from fleet.template.field import Field
from fleet.v1 import types_pb2 as types

# Fields of FleetSpec.
SETTINGS = (
    "readiness",
    "admission",
    "placement",
    "on_loss",
    "on_isolation_stop_after_seconds",
    "disruption",
    "schedule",
)


def is_setting(one: Field) -> bool:
    """Whether it is no part of the template."""
    return one.message_path.partition(".")[0] in SETTINGS


def template_of(spec: types.FleetSpec) -> types.FleetSpec:
    """What VMs are made of."""
    template = types.FleetSpec()
    template.CopyFrom(spec)
    for name in SETTINGS:
        template.ClearField(name)  # type: ignore[arg-type]
    return template


def with_settings(spec: types.FleetSpec, settings: types.FleetSpec) -> types.FleetSpec:
    """The template of the one, and the settings of the other."""
    both = template_of(spec)
    for field, value in settings.ListFields():
        if field.name not in SETTINGS:
            continue
        if field.message_type is None:
            setattr(both, field.name, value)
        else:
            getattr(both, field.name).CopyFrom(value)
    return both


def same_settings(one: types.FleetSpec, other: types.FleetSpec) -> bool:
    """Whether they differ in their templates at most. An empty section is as none."""
    return all(getattr(one, name) == getattr(other, name) for name in SETTINGS)
