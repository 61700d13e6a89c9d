"""How many servers there should be, and what each is granted."""

from collections.abc import Iterator

from stockpot.api.v1alpha1 import MOST_GRANTED
from stockpot.core.actions import Action, Commit, ForgetServer, Prepare, RecordServer, Scale
from stockpot.core.servers import ServerGrant
from stockpot.core.world import World


def plan_servers(world: World) -> Iterator[Action]:
    """Grant what was promoted to every server that does not serve it yet.

    From the moment a shard is deleted no grant names it: a server that starts waits for the soup
    without it. A late grant has an earlier epoch or instance ID, and is refused.
    """
    wanted = wanted_replicas(world)
    if world.replicas != wanted or (wanted and not world.is_as_declared):
        yield Scale(wanted)
    for grant in world.soup.granted:
        if grant.uid in world.ended:
            yield ForgetServer(grant.uid)
    promoted = world.soup.current
    if not world.soup.alive:
        return
    if promoted is None or not world.is_clean(promoted.revision.lineage):
        return
    for server in world.servers:
        if not server.answers or world.is_serving(server):
            continue
        if not world.may_be_granted(server):
            # Recorded before the first grant, so that every later leader knows of this server.
            if server.uid and len(world.soup.granted) < MOST_GRANTED:
                yield RecordServer(ServerGrant(server.name, server.uid, server.node))
            continue
        ready = server.epoch == promoted.epoch and server.prepared
        act = Commit if ready == promoted.revision.recipe.digest else Prepare
        yield act(server.name, server.instance_id, promoted)


def wanted_replicas(world: World) -> int:
    """Return how many servers there should be."""
    soup = world.soup
    if not soup.alive:
        return 0
    last_left = soup.promotions > 0 and not world.shards
    return 0 if soup.scales_to_zero and last_left else soup.replicas
