"""Reads what servers say, and edits the list of granted servers in their Soup."""

from datetime import datetime
from operator import attrgetter

from stockpot.api.server_reports import Ending
from stockpot.api.serving import Granted, ServerState
from stockpot.api.v1alpha1 import MOST_ENDED, EndedServer, GrantedServer, Soup
from stockpot.core.digests import Digest
from stockpot.core.recipe import Ingredient, ShardUID
from stockpot.core.revision import Epoch
from stockpot.core.servers import HeldRevision, Server, ServerGrant
from stockpot.reconcile.objects.fields import timestamp
from stockpot.reconcile.objects.soup import EditSoup, change_soup_status


def server_view(name: str, state: ServerState, uid: str = "", node: str = "") -> Server:
    """Return the state that a server reports as the core's value."""

    def recipe(granted: Granted | None) -> Digest | None:
        return Digest(granted.revision.recipe_digest) if granted else None

    return Server(
        name=name,
        uid=uid,
        node=node,
        instance_id=state.instance_id,
        ready=state.ready,
        epoch=Epoch(state.epoch),
        granted=recipe(state.granted),
        prepared=recipe(state.prepared),
        serving=recipe(state.serving),
        holds=frozenset(
            HeldRevision(
                Digest(hold.recipe_digest),
                frozenset(
                    Ingredient(ShardUID(p.shard), Digest(p.training_key)) for p in hold.lineage
                ),
            )
            for hold in state.holds
        ),
        problem=state.problem,
        nonce=state.nonce,
        chain=state.chain,
        chain_age_s=state.chain_age_s,
    )


def with_server(server: ServerGrant) -> EditSoup:
    """Record a server before its first grant: from now on it may hold something."""

    def edit(soup: Soup) -> Soup:
        serving = soup.status.serving
        if any(known.uid == server.uid for known in serving.granted):
            return soup
        new = GrantedServer(name=server.name, uid=server.uid, node=server.node)
        granted = tuple(sorted((*serving.granted, new), key=attrgetter("name", "uid")))
        return change_soup_status(soup, serving=serving.model_copy(update={"granted": granted}))

    return edit


def without_server(uid: str, how: Ending | None, now: datetime) -> EditSoup:
    """Replace the record of a granted server by how it ended, where that is known."""

    def edit(soup: Soup) -> Soup:
        serving = soup.status.serving
        gone = next((server for server in serving.granted if server.uid == uid), None)
        if gone is None:
            return soup
        granted = tuple(server for server in serving.granted if server.uid != uid)
        ended = serving.ended
        if how is not None:
            end = EndedServer(**gone.model_dump(), how=how, seen_at=timestamp(now))
            ended = (*ended, end)[-MOST_ENDED:]
        changes = {"granted": granted, "ended": ended}
        return change_soup_status(soup, serving=serving.model_copy(update=changes))

    return edit
