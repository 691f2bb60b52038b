"""fleetctl cluster: the control plane, from the first controller on."""

from __future__ import annotations

import click

from fleetctl.cli.help_page import OrderedGroup
from fleetctl.commands.founding.add_controller import add_controller
from fleetctl.commands.founding.init import init
from fleetctl.commands.founding.join import join
from fleetctl.commands.founding.refresh import refresh
from fleetctl.commands.founding.renew import renew
from fleetctl.commands.founding.replace_member import replace_member
from fleetctl.commands.founding.status import status


@click.group(cls=OrderedGroup)
def cluster() -> None:
    """Found a cluster, add controllers, look at its members, replace them, renew certificates.

    Each controller has a member of etcd beside it, on the same machine and under the same name.
    Run these as root where 'cluster init' was run: both authorities and the credentials of etcd's
    root are kept there, beside fleetctl's contexts file.
    """


for _command in (init, add_controller, join, status, replace_member, refresh, renew):
    cluster.add_command(_command)
