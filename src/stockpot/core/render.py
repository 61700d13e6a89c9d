"""A plan as text, for the terminal, the log and golden files."""

from collections.abc import Iterator

from stockpot.core import actions as act
from stockpot.core import run_starts as starts
from stockpot.core.actions import Action
from stockpot.core.checks import Assessment
from stockpot.core.digests import short
from stockpot.core.plan import Plan
from stockpot.core.recipe import Recipe
from stockpot.core.world import World


def render(assessment: Assessment, plan: Plan) -> str:
    """Write an assessment and its plan as lines of text.

    The first line is the soup with the recipe that is served and the one that should be; then a
    line for each shard or target, with what blocks its next stage; then a line for each action.
    """
    return (
        "\n".join((*_stage_lines(assessment), *_action_lines(plan, assessment.inputs.world))) + "\n"
    )


def _stage_lines(assessment: Assessment) -> Iterator[str]:
    world, wanted = assessment.inputs.world, assessment.inputs.recipe
    serves = _name(world.serving_recipe)
    change = "" if wanted == world.serving_recipe else " ▸ ?"
    if isinstance(wanted, Recipe) and wanted != world.serving_recipe:
        change = f" ▸ {_name(wanted)}"
    yield f"soup {world.soup.name}   {serves}{change}"
    width = max((len(name) for name in world.names.values()), default=0)
    done = dict.fromkeys((shard.uid for shard in world.shards), "Ready")
    for uid, name in sorted(world.names.items(), key=lambda item: item[1]):
        pending = assessment.pending[uid]
        state = done.get(uid, "Forgotten")
        if pending:
            blocker = pending.blocker
            state = f"▸ {pending.stage:<11} {blocker.reason}: {blocker.message}"
        yield f"  {name:<{width}}  {state}"


def _name(recipe: Recipe | None) -> str:
    if recipe is None:
        return "-"
    return "base" if recipe.is_base else short(recipe.digest)


def _action_lines(plan: Plan, world: World) -> Iterator[str]:
    for action in plan.actions:
        yield f"  {describe(action, world)}"


def describe(action: Action, world: World) -> str:
    """Describe an action in one line: `+` starts something, `=` records it, `-` ends it."""
    names = {str(uid): name for uid, name in world.names.items()}
    line = _of_shard(action, names) or _of_records(action, names)
    line = line or _of_making(action, names) or _of_serving(action)
    return line.rstrip()


def _of_shard(action: Action, names: dict[str, str]) -> str:
    match action:
        case act.HoldShard(shard):
            return f"+ hold      {names[shard]}"
        case starts.StartTraining(shard, _, attempt):
            return f"+ train     {names[shard]}{_again(attempt)}"
        case act.RecordIngredient(shard, trained):
            return f"= trained   {names[shard]}   {short(trained.weights)}"
        case act.RecordDeletion(shard):
            return f"- forget    {names[shard]}"
        case starts.StartPurge(shard, attempt):
            return f"- purge     {names[shard]}{_again(attempt)}"
        case starts.StartSigning(receipts, attempt):
            due = (receipt for receipt in receipts if not receipt.is_only_looked_for)
            signed = "   ".join(names[receipt.shard] for receipt in due)
            return f"+ sign      {signed}{_again(attempt)}"
        case act.RecordReceipt(shard, sequence, _, is_complete):
            more = "" if is_complete else "   Incomplete"
            return f"= receipt   {names.get(shard, shard)}   {sequence}{more}"
        case act.RecordRetry(shard, _, runs):
            who = names[shard] if shard else "the soup"
            return f"= retry     {who}   {', '.join(runs) or 'nothing had failed'}"
        case act.ReleaseShard(shard):
            return f"- release   {names[shard]}"
        case _:
            return ""


def _of_records(action: Action, names: dict[str, str]) -> str:
    match action:
        case act.RequestRecordRemoval(shard):
            return f"- records   of {names[shard]}"
        case starts.StartFind(shard, _, attempt):
            return f"+ find      records of {names[shard]}{_again(attempt)}"
        case act.RecordFoundRecords(shard, _, records):
            what = "refused" if records.is_refused else f"{records.covered} records"
            return f"= found     {what} of {names[shard]}"
        case starts.StartCompare(ingredient, attempt):
            return f"+ compare   {names[ingredient.shard]}{_again(attempt)}"
        case act.RecordComparison(ingredient, comparison):
            shared = comparison.shared_records
            back = sum(records for _, records in comparison.returning)
            more = f", {back} were unlearned before" if back else ""
            return f"= compared  {names[ingredient.shard]}   {shared} records are in others{more}"
        case act.CancelRecordRemoval(shard):
            return f"+ records   of {names[shard]}"
        case act.DropIngredient(shard, _, records):
            return f"- disown    {names[shard]}   {len(records)} records"
        case starts.StartRescan(number, _, attempt):
            return f"- collect   look {number}{_again(attempt)}"
        case act.RecordRescan(number, removed):
            return f"= collected look {number}   {removed} objects"
        case _:
            return ""


def _of_making(action: Action, names: dict[str, str]) -> str:
    match action:
        case starts.StartMerge(recipe, attempt):
            return f"+ merge     {_name(recipe)}   {_shares(recipe, names)}{_again(attempt)}"
        case act.RecordRevision(revision):
            return f"= merged    {_name(revision.recipe)}   {short(revision.weights)}"
        case starts.StartEvaluation(revision, attempt):
            return f"+ evaluate  {_name(revision.recipe)}{_again(attempt)}"
        case act.RecordEvaluation(revision):
            return f"= evaluated {_name(revision.recipe)}"
        case act.ForgetRevision(revision):
            return f"- revision  {_name(revision.recipe)}"
        case act.EndRun(name):
            return f"- end       {name}"
        case _:
            return ""


def _of_serving(action: Action) -> str:
    match action:
        case act.HoldSoup():
            return "+ hold      the soup"
        case act.ReleaseSoup():
            return "- release   the soup"
        case act.WriteDebt(targets):
            return f"= debt      of {len(targets)} unlearnings"
        case act.Promote(promotion):
            recipe = promotion.revision.recipe
            return f"+ promote   {_name(recipe)}   number {promotion.number}"
        case act.RecordServer(server):
            return f"= server    {server.name}"
        case act.ForgetServer(uid):
            return f"- server    {uid}"
        case act.Prepare(server, _, promotion):
            return f"+ prepare   {_name(promotion.revision.recipe)} on {server}"
        case act.Commit(server, _, promotion):
            return f"+ commit    {_name(promotion.revision.recipe)} on {server}"
        case act.Scale(replicas):
            return f"+ servers   {replicas}"
        case _:
            return ""


def _again(attempt: int) -> str:
    return f"   attempt {attempt}" if attempt > 1 else ""


def _shares(recipe: Recipe, names: dict[str, str]) -> str:
    total = sum(part.weight for part in recipe.parts)
    shares = (
        (names.get(part.ingredient.shard, part.ingredient.shard), part.weight)
        for part in recipe.parts
    )
    return "   ".join(f"{name} {weight}/{total}" for name, weight in sorted(shares))
