"""The generations of a fleet that are kept: which one a template is, which settings they have."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fleet.template.settings import same_settings, template_of, with_settings
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord

Specs = Mapping[tuple[str, int], types.FleetSpec]


class Applied(msgspec.Struct, frozen=True):
    """A spec among the generations of its fleet. `records`: those to write, by generation."""

    generation: int
    is_new: bool
    newest: int  # of those that are kept afterwards
    records: Mapping[int, types.FleetSpec]


def applied(specs: Specs, fleet: FleetRecord, spec: types.FleetSpec) -> Applied:
    """The generation that the spec's template is, and the settings of all as the spec has them. Of
    generations that are alike the present one is taken, and else the newest."""
    kept = {generation: one for (uid, generation), one in specs.items() if uid == fleet.uid}
    template = template_of(spec)
    alike = [generation for generation, one in kept.items() if template_of(one) == template]
    newest = max(kept, default=fleet.generation)
    records = {
        generation: with_settings(one, spec)
        for generation, one in sorted(kept.items())
        if not same_settings(one, spec)
    }
    if alike:
        target = fleet.generation if fleet.generation in alike else max(alike)
        return Applied(target, False, newest, records)
    return Applied(newest + 1, True, newest + 1, {**records, newest + 1: spec})
