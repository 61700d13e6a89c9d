"""The whole product on one machine, told in the terminal: `make demo-local`.

Four shards are learnt, a fifth comes and goes, one of the four is forgotten, and a soup that never
knew it, trained in an empty store, turns out to have the same bytes. What is said here was looked
at: each ✓ is a comparison that ends the demo where it fails.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import yaml
from client import Client, endpoint
from pictures import Sampler, draw_sheet
from report import Chapter, write_report
from terminal import ROOT, Teller, clock

from stockpot.api.v1alpha1 import SoupRevision, UnlearningReceipt
from stockpot.core.digests import short
from stockpot.evaluation.figures import Figure, paired_difference
from stockpot.local.layout import Layout
from stockpot.local.session import Session
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.chain import check_chain
from stockpot.unlearning.keys import load_public_key

EXAMPLE = ROOT / "examples/emoji"
OUT = ROOT / "out/demo"
STATE, PROOF = OUT / "state", OUT / "proof"
FOUR = ("animals", "food", "travel", "objects")
STYLE, GONE = "ink", "travel"
CLAIM = ("--claim", f"emoji={EXAMPLE}")


class Story:
    """The demo, chapter by chapter."""

    def __init__(self, port: int) -> None:
        self.teller = Teller()
        self.port = port
        self.client = Client(STATE, OUT / "client.jsonl")
        self.sampler = Sampler(STATE)
        self.chapters: list[Chapter] = []
        self.recomputed = 0

    def tell(self) -> int:
        """Tell all of it."""
        self.prepare()
        self.four_are_learnt()
        self.a_style_joins()
        self.the_style_leaves()
        self.one_of_the_four_is_forgotten()
        self.proof()
        return self.end()

    def prepare(self) -> None:
        """Begin from nothing: an empty folder, a base that is whole, a key."""
        self.teller.chapter("A base, and a key to sign with")
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        assemble = [sys.executable, EXAMPLE / "build/assemble.py"]
        subprocess.run(assemble, check=True, cwd=ROOT)
        self.teller.run("keygen", "--out", STATE / "signing-key.pem")

    def four_are_learnt(self) -> None:
        """Apply a soup and four shards."""
        self.teller.chapter("Four shards are applied: each is trained alone, then averaged")
        self.client.start()
        port = ("--port", str(self.port))
        self.teller.run("local", "apply", "-f", EXAMPLE, *CLAIM, *port, "--dir", STATE)
        self.look("four", "animals, food, travel, objects")

    def a_style_joins(self) -> None:
        """Add the black-and-white shard."""
        self.teller.chapter("A fifth shard, in black and white: only it is trained")
        before = self.trainings()
        manifest = EXAMPLE / f"more/{STYLE}.yaml"
        self.teller.run("local", "apply", "-f", manifest, "--dir", STATE)
        self.look("with ink", "the same, and ink")
        self.require(self.trainings() == before + 1, "only the new shard was trained")

    def the_style_leaves(self) -> None:
        """Delete it again."""
        self.teller.chapter("It is deleted: out of the server, out of the store, with a receipt")
        merged = self.merges()
        self.teller.run("local", "delete", f"shard/{STYLE}", "--dir", STATE)
        self.look("without ink", "the first four again")
        four, again = self.chapters[1], self.chapters[-1]  # the first is the base
        self.require(
            four.weights == again.weights,
            f"back to revision 1's weights: {short(again.weights)}",
        )
        self.require(self.merges() == merged, "they were found, and not merged again")
        self.compare_styles()

    def one_of_the_four_is_forgotten(self) -> None:
        """Delete a shard that was there from the beginning."""
        self.teller.chapter(f"One of the first four is deleted: {GONE}")
        self.teller.run("local", "delete", f"shard/{GONE}", "--dir", STATE)
        self.look(f"without {GONE}", "animals, food, objects")
        self.require(
            self.chapters[-1].weights not in {one.weights for one in self.chapters[:-1]},
            f"newly merged weights: {short(self.chapters[-1].weights)}",
        )

    def proof(self) -> None:
        """Train the three survivors once more, where the fourth never was."""
        self.teller.chapter("Proof: a soup that never knew it, trained in an empty store")
        self.client.stop()
        manifests = OUT / "proof-manifests"
        manifests.mkdir()
        for name in FOUR:
            if name != GONE:
                shutil.copy(EXAMPLE / f"{name}.yaml", manifests)
        soup = yaml.safe_load((EXAMPLE / "soup.yaml").read_text())
        soup["spec"]["membership"]["minShards"] = 3
        soup["spec"]["serving"] = {"replicas": 0}
        soup["spec"]["evaluation"] = {}
        (manifests / "soup.yaml").write_text(yaml.safe_dump(soup, sort_keys=False))
        self.teller.run("local", "apply", "-f", manifests, *CLAIM, "--dir", PROOF)
        never, served = current_weights(PROOF), self.chapters[-1].weights
        self.teller.say(f"served, after the deletion   {served}")
        self.teller.say(f"never had {GONE}             {never}")
        self.require(never == served, "the same weights, to the last bit")

    def end(self) -> int:
        """Draw it, write it down, and say what to look at."""
        self.teller.chapter("What there is to look at")
        answers = self.client.answers
        bad = [one for one in answers if one.status != 200]
        self.require(not bad, f"{len(answers)} requests, one every 3 s: none failed")
        self.require(self.recomputed > 0, f"{self.recomputed} answers recomputed: same bytes")
        receipts = self.check_receipts()
        sheet = draw_sheet(self.chapters, OUT / "demo.png")
        write_report(OUT / "report.html", self.chapters, sheet, receipts, self.teller, answers)
        say, url = self.teller.say, endpoint(STATE)
        say(f"pictures    {shown(OUT / 'demo.png')}")
        say(f"report      {shown(OUT / 'report.html')}")
        say(f"ask it      {url}   (the server stays up)")
        say(f"receipts    {shown(STATE / 'store/default/receipts')}")
        say(f"objects     stockpot local get --dir {shown(STATE)}")
        say(f"stop it     stockpot local down --dir {shown(STATE)}")
        say(f"took        {clock(self.teller.elapsed_s)}")
        return 0

    # What is looked at.

    def look(self, name: str, made_of: str) -> None:
        """Ask for pictures of what is served, keep its figures, and recompute what it answered."""
        revision = current(STATE)
        spec = revision.spec
        if not self.chapters:
            self.chapters.append(self._base())
        pictures = self.sampler.served()
        metrics = self.evaluation(spec.soup_ref.uid, spec.recipe_digest)
        self.chapters.append(
            Chapter(name, made_of, spec.weights_digest, spec.recipe_digest, pictures, metrics)
        )
        loss, colour = metrics["heldout_loss"], metrics["saturation_mean"]
        self.teller.say(f"held-out loss {loss.value:.4f}, saturation {colour.value:.3f}")
        self.recompute(revision)

    def _base(self) -> Chapter:
        base = next(one for one in revisions(STATE) if not one.spec.parts)
        spec = base.spec
        metrics = self.evaluation(spec.soup_ref.uid, spec.recipe_digest, optional=True)
        pictures = self.sampler.of(base)
        return Chapter("base", "nothing yet", spec.weights_digest, "", pictures, metrics)

    def evaluation(
        self, soup_uid: str, recipe: str, *, optional: bool = False
    ) -> dict[str, Figure]:
        """The figures of a revision, with what was measured of each picture."""
        key = Keys("default").evaluation(soup_uid, recipe) + "evaluation.json"
        found = open_store(Session(Layout(STATE)).surroundings.store).get(key)
        if found is None:
            self.require(optional, "the revision was evaluated")
            return {}
        metrics = json.loads(found)["metrics"]
        return {name: Figure.from_json(said) for name, said in metrics.items()}

    def recompute(self, revision: SoupRevision) -> None:
        """Draw what the client was answered once more, from the stored weights."""
        digest = revision.spec.weights_digest
        mine = [one for one in self.client.answers if one.weights_digest == digest][-4:]
        asked = [(one.prompt, one.seed) for one in mine]
        got = self.sampler.recompute(revision, asked)
        same = [one.picture_digest == digest for one, digest in zip(mine, got, strict=True)]
        self.require(all(same), f"{len(same)} of its answers drawn again: the same bytes")
        self.recomputed += len(same)

    def compare_styles(self) -> None:
        """Whether revision 2 looks different from those before and after it, beyond chance."""
        before, during, after = (one.metrics["saturation_mean"] for one in self.chapters[-3:])
        for name, other in (("before", before), ("after", after)):
            gap = paired_difference(other, during)
            error = gap.standard_error or 0.0
            self.require(
                abs(gap.value) > 3 * error > 0,
                f"saturation differs from the revision {name} by {gap.value:.3f} ± {error:.3f}",
            )

    def check_receipts(self) -> tuple[UnlearningReceipt, ...]:
        """Check the chain of receipts with the public key alone."""
        session = Session(Layout(STATE))
        receipts = tuple(session.objects.list(UnlearningReceipt, "default"))
        store = open_store(session.surroundings.store)
        public = load_public_key(STATE / "signing-key.pem.pub")
        chain = check_chain(store, Keys("default"), receipts[0].spec.soup_ref.uid, public)
        names = [one.statement.predicate.shard.name for one in chain]
        self.require(names == [STYLE, GONE], f"receipts, signed and chained: {', '.join(names)}")
        return receipts

    def trainings(self) -> int:
        """How many ingredients there are."""
        return len(list((STATE / "store/default/shards").glob("*/*/manifest.json")))

    def merges(self) -> int:
        """How many revisions were made without the style."""
        members = [{part.shard.name for part in one.spec.parts} for one in revisions(STATE)]
        return sum(1 for names in members if STYLE not in names)

    def require(self, so: bool, text: str) -> None:
        """Say that something is so, or end the demo where it is not."""
        if so:
            self.teller.found(text)
            return
        self.teller.console.print(f"  [red]✗ not so: {text}[/]")
        raise SystemExit(1)


def revisions(state: Path) -> tuple[SoupRevision, ...]:
    """The revisions that there are."""
    return tuple(Session(Layout(state)).objects.list(SoupRevision, "default"))


def current(state: Path) -> SoupRevision:
    """The revision that is served."""
    weights = current_weights(state)
    return next(one for one in revisions(state) if one.spec.weights_digest == weights)


def current_weights(state: Path) -> str:
    """The digest of the weights that are served."""
    session = Session(Layout(state))
    [key] = session.objects.soup_keys()
    soup = session.ports(key).objects.read(fresh=True).soup
    assert soup is not None
    assert soup.status.current_revision is not None
    return soup.status.current_revision.weights_digest


def shown(path: Path) -> str:
    """A path as it is seen from the repository."""
    return str(path.relative_to(ROOT))


def refuse_if_up(port: int) -> None:
    """Say so at once where an earlier demo's server is still up, or something else has the port."""
    if STATE.exists() and endpoint(STATE):
        subprocess.run(
            [sys.executable, "-m", "stockpot.cli", "local", "down", "--dir", STATE],
            check=False,
            cwd=ROOT,
        )
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"port {port} is taken\n  help: make demo-local PORT=another")


def main() -> int:
    """Begin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="where the soup is served")
    told = parser.parse_args()
    refuse_if_up(told.port)
    story = Story(told.port)
    try:
        return story.tell()
    finally:
        story.client.stop_if_running()


if __name__ == "__main__":
    sys.exit(main())
