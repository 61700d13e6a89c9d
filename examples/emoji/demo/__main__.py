"""The whole product, told in the terminal: `make demo` on a cluster, `make demo-local` in a folder.

Four shards are learnt, a fifth comes and goes, one of the four is forgotten, and a soup that never
knew it, trained where nothing ever was, turns out to have the same bytes. What is said here was
looked at: each ✓ is a comparison that ends the demo where it fails. With QUICK=1 it is the same
story with three shards, shorter trainings and fewer pictures.
"""

import argparse
import json
import subprocess
import sys

import numpy as np
from client import Client
from folder import Folder, free_the_port
from length import FORGOTTEN, QUICK, STYLE, WHOLE, Length
from numpy.typing import NDArray
from pictures import Sampler, draw_sheet, saturation
from report import Chapter, write_report
from terminal import EXAMPLE, OUT, ROOT, Teller, clock, shorten
from venue import Venue

from stockpot.api.v1alpha1 import SoupRevision, UnlearningReceipt
from stockpot.core.digests import short
from stockpot.evaluation.measurements import Measurement, paired_difference
from stockpot.store.keys import Keys
from stockpot.store.open import open_store
from stockpot.unlearning.chain import check_chain

RECOMPUTED = 4
"""How many of the server's answers are drawn again for a revision."""
SATURATION = "saturation_mean"
FIGURES = {"heldout_loss": "held-out loss", SATURATION: "saturation"}


class Story:
    """The demo, chapter by chapter."""

    def __init__(self, venue: Venue, length: Length) -> None:
        self.venue = venue
        self.length = length
        self.teller = Teller()
        self.client = Client(venue.endpoint, OUT / "client.jsonl")
        self.sampler = Sampler(venue, length.prompts)
        self.chapters: list[Chapter] = []
        self.recomputed = 0
        self.step = ""

    def tell(self) -> int:
        """Tell all of it."""
        self.prepare()
        self.first_shards_are_learnt()
        self.a_style_joins()
        self.the_style_leaves()
        self.one_of_the_first_is_forgotten()
        self.proof()
        return self.end()

    def prepare(self) -> None:
        """Begin from nothing, with a base that is whole."""
        self.begin("prepare", "A base, and a place to work in")
        assemble = [sys.executable, str(EXAMPLE / "build/assemble.py")]
        subprocess.run(assemble, check=True, cwd=ROOT)
        self.venue.prepare(self.teller)

    def first_shards_are_learnt(self) -> None:
        """Apply a soup and its first shards."""
        number, members = self.length.number, self.length.members
        title = f"{number.capitalize()} shards are applied: each is trained alone, then averaged"
        self.begin("learn", title)
        self.client.start()
        self.venue.apply(self.length.first_manifests(OUT / "manifests"), members)
        self.look(number, ", ".join(members))

    def a_style_joins(self) -> None:
        """Add the black-and-white shard."""
        self.begin("join", "One more shard, in black and white: only it is trained")
        before = self.trainings()
        self.venue.apply(EXAMPLE / f"more/{STYLE}.yaml", (*self.length.members, STYLE))
        self.look(f"with {STYLE}", f"the same, and {STYLE}")
        self.require(self.trainings() == before + 1, "only the new shard was trained")

    def the_style_leaves(self) -> None:
        """Delete it again."""
        self.begin("leave", "It is deleted: out of the server, out of the store, with a receipt")
        merged = self.merges()
        self.venue.delete(STYLE)
        self.look(f"without {STYLE}", f"the first {self.length.number} again")
        first, again = self.chapters[-3], self.chapters[-1]
        self.require(
            first.weights == again.weights,
            f"back to revision 1's weights: {short(again.weights)}",
        )
        self.require(self.merges() == merged, "they were found, and not merged again")
        self.compare_styles()

    def one_of_the_first_is_forgotten(self) -> None:
        """Delete a shard that was there from the beginning."""
        self.begin("forget", f"One of the first {self.length.number} is deleted: {FORGOTTEN}")
        self.venue.delete(FORGOTTEN)
        self.look(f"without {FORGOTTEN}", ", ".join(self.length.survivors))
        self.require(
            self.chapters[-1].weights not in {chapter.weights for chapter in self.chapters[:-1]},
            f"newly merged weights: {short(self.chapters[-1].weights)}",
        )

    def proof(self) -> None:
        """Train the survivors once more, where the forgotten shard never was."""
        self.client.stop()
        self.begin("proof", "Proof: a soup that never knew it, trained where nothing ever was")
        manifests = self.length.proof_manifests(OUT / "proof-manifests")
        never = self.venue.prove(manifests, self.length.survivors)
        served = self.chapters[-1].weights
        for soup, weights in (
            ("served, after the deletion", served),
            (f"never had {FORGOTTEN}", never),
        ):
            self.teller.say(f"{soup:<28}{weights}")
        self.require(never == served, "the same weights, to the last bit")

    def end(self) -> int:
        """Draw it, write it down, and say what to look at."""
        self.begin("end", "What there is to look at")
        answers = self.client.answers
        bad = [answer for answer in answers if answer.status != 200]
        self.require(not bad, f"{len(answers)} requests, one every 3 s: none failed")
        # The base has no chapter in the quick demo, and a revision that is gone has one.
        known = {chapter.weights for chapter in self.chapters}
        known |= {revision.spec.weights_digest for revision in self.venue.revisions()}
        strange = [answer for answer in answers if answer.weights_digest not in known]
        self.require(not strange, "each answer is of a revision that there was")
        self.require(self.recomputed > 0, f"{self.recomputed} answers recomputed: same bytes")
        for timing in self.venue.timings():
            within = f"the bar is {timing.bar_s:.0f} s" + (
                ", missed" if timing.took_s > timing.bar_s else ""
            )
            self.teller.say(f"{timing.what}: {timing.took_s:.0f} s ({within})")
        receipts = self.check_receipts()
        sheet = draw_sheet(self.chapters, self.length.prompts, OUT / "demo.png")
        write_report(
            OUT / "report.html",
            self.chapters,
            sheet,
            receipts,
            self.teller,
            answers,
            self.venue.timings(),
        )
        look = {"pictures": shorten(sheet), "report": shorten(OUT / "report.html")}
        for what, how in {**look, **self.venue.farewell()}.items():
            self.teller.say(f"{what:<11} {how}")
        self.teller.say(f"took        {clock(self.teller.elapsed_s)}")
        return 0

    def begin(self, step: str, title: str) -> None:
        """Begin a chapter, and say about how long it takes."""
        self.step = step
        self.teller.chapter(title, self.venue.expected_s(step, is_quick=self.length.is_quick))

    # What is looked at.

    def look(self, name: str, made_of: str) -> None:
        """Ask for pictures of what is served, keep its figures, and recompute what it answered."""
        revision = self.current()
        spec = revision.spec
        if not self.chapters and not self.length.is_quick:
            self.chapters.append(self._base())
        pictures = self.sampler.served()
        metrics = self.measure(revision, pictures)
        self.chapters.append(
            Chapter(name, made_of, spec.weights_digest, spec.recipe_digest, pictures, metrics)
        )
        figures = [
            f"{words} {metrics[name].value:.3f}"
            for name, words in FIGURES.items()
            if name in metrics
        ]
        self.teller.say(", ".join(figures))
        if self.step in self.length.recomputed_in:
            self.recompute(revision)

    def _base(self) -> Chapter:
        base = next(revision for revision in self.venue.revisions() if not revision.spec.parts)
        spec = base.spec
        pictures = self.sampler.of(base)
        metrics = self.measure(base, pictures, optional=True)
        return Chapter("base", "nothing yet", spec.weights_digest, "", pictures, metrics)

    def measure(
        self, revision: SoupRevision, pictures: list[NDArray[np.uint8]], *, optional: bool = False
    ) -> dict[str, Measurement]:
        """The figures of a revision, with what was measured of each picture.

        The whole demo reads what the revision's evaluation stored; the quick one has none, and
        measures the pictures at hand.
        """
        if self.length.is_quick:
            colours = [saturation(picture) for picture in pictures]
            return {SATURATION: Measurement(dict(zip(self.length.prompts, colours, strict=True)))}
        spec = revision.spec
        folder = Keys(self.venue.namespace).evaluation(spec.soup_ref.uid, spec.recipe_digest)
        key = folder + "evaluation.json"
        content = open_store(self.venue.store(), self.venue.namespace).get(key)
        if content is None:
            self.require(optional, "the revision was evaluated")
            return {}
        metrics = json.loads(content)["metrics"]
        return {name: Measurement.from_json(figure) for name, figure in metrics.items()}

    def recompute(self, revision: SoupRevision) -> None:
        """Draw what the client was answered once more, from the stored weights."""
        digest = revision.spec.weights_digest
        mine = [answer for answer in self.client.answers if answer.weights_digest == digest]
        mine = mine[-RECOMPUTED:]
        requests = [(picture.prompt, picture.seed) for picture in mine]
        got = self.sampler.recompute(revision, requests)
        same = [picture.picture_digest == digest for picture, digest in zip(mine, got, strict=True)]
        self.require(all(same), f"{len(same)} of its answers drawn again: the same bytes")
        self.recomputed += len(same)

    def compare_styles(self) -> None:
        """Whether revision 2 looks different from those before and after it, beyond chance."""
        before, during, after = (chapter.metrics[SATURATION] for chapter in self.chapters[-3:])
        for name, other in (("before", before), ("after", after)):
            gap = paired_difference(other, during)
            error = gap.standard_error or 0.0
            self.require(
                abs(gap.value) > 3 * error > 0,
                f"saturation differs from the revision {name} by {gap.value:.3f} ± {error:.3f}",
            )

    def check_receipts(self) -> tuple[UnlearningReceipt, ...]:
        """Check the chain of receipts with the public key alone."""
        store, keys = (
            open_store(self.venue.store(), self.venue.namespace),
            Keys(self.venue.namespace),
        )
        chain = check_chain(store, keys, self.venue.soup().metadata.uid, self.venue.public_key())
        names = [receipt.statement.predicate.shard.name for receipt in chain]
        self.require(
            names == [STYLE, FORGOTTEN], f"receipts, signed and chained: {', '.join(names)}"
        )
        return self.venue.receipts()

    def trainings(self) -> int:
        """How many ingredients there are."""
        prefix = f"{self.venue.namespace}/shards/"
        keys = (
            info.key.removeprefix(prefix)
            for info in open_store(self.venue.store(), self.venue.namespace).list(prefix)
        )
        return sum(1 for key in keys if key.count("/") == 2 and key.endswith("/manifest.json"))

    def merges(self) -> int:
        """How many revisions were made without the style."""
        members = [
            {part.shard.name for part in revision.spec.parts} for revision in self.venue.revisions()
        ]
        return sum(1 for names in members if STYLE not in names)

    def current(self) -> SoupRevision:
        """The revision that is served."""
        revision_name = self.venue.soup().status.current_revision
        assert revision_name is not None
        return next(
            revision
            for revision in self.venue.revisions()
            if revision.metadata.name == revision_name.name
        )

    def require(self, so: bool, text: str) -> None:
        """Say that something is so, or end the demo where it is not."""
        if so:
            self.teller.confirm(text)
            return
        self.teller.console.print(f"  [red]✗ not so: {text}[/]")
        raise SystemExit(1)


def chosen_venue(options: argparse.Namespace) -> Venue:
    """Where it is to take place."""
    if options.local:
        free_the_port(options.port)
        return Folder(options.port)
    # Only a cluster needs what speaks to one.
    from cluster import Cluster  # noqa: PLC0415
    from install import Borrowed, BuiltIn  # noqa: PLC0415

    if options.context:
        return Cluster(Borrowed(options.context, options.registry), options.port)
    return Cluster(BuiltIn(options.cluster, options.images), options.port)


def main() -> int:
    """Begin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--local", action="store_true", help="in a folder, without a cluster")
    parser.add_argument("--port", type=int, default=8000, help="where the soup is served")
    parser.add_argument("--cluster", default="stockpot", help="name of the built-in cluster")
    parser.add_argument("--images", action="store_true", help="build images, and run those")
    parser.add_argument("--context", default="", help="of your kubeconfig: use that cluster")
    parser.add_argument("--registry", default="", help="where that cluster pulls images from")
    parser.add_argument("--quick", action="store_true", help="the same story with less in it")
    options = parser.parse_args()
    story = Story(chosen_venue(options), QUICK if options.quick else WHOLE)
    try:
        return story.tell()
    finally:
        story.client.stop_if_running()


if __name__ == "__main__":
    sys.exit(main())
