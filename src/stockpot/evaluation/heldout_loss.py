"""The evaluator `heldout_loss`: the training's denoising loss on held-out records.

Records, noise and noise levels are fixed. Of all figures it says most for a second of work.
"""

from collections import defaultdict
from statistics import fmean

import torch
from PIL import Image
from torch import Tensor

from stockpot.api.options import HeldoutLossOptions
from stockpot.core.omissions import OmissionCounter
from stockpot.diffusion.families.port import Conditions
from stockpot.diffusion.objectives import Objective, ObjectiveSettings, denoising_losses
from stockpot.diffusion.pictures import crop_sizes, pixels
from stockpot.diffusion.records import CorruptPicture, Record
from stockpot.errors import ExitCode, Refused
from stockpot.evaluation.evaluator import BATCH_SIZE, EvaluatedRevision, EvaluatorResult, noise_seed
from stockpot.evaluation.measurements import Measurement


class HeldoutLoss(HeldoutLossOptions):
    """The weighted denoising loss, as `heldout_loss`; lower is better."""

    @torch.no_grad()
    def evaluate(self, revision: EvaluatedRevision) -> EvaluatorResult:
        losses: dict[str, list[float]] = defaultdict(list)
        counter = OmissionCounter()
        family, records = revision.family, revision.records
        is_weighed = family.weighs_by_snr or "snr_gamma" in self.model_fields_set
        gamma = self.snr_gamma if is_weighed else None
        objective = family.objective(ObjectiveSettings(snr_gamma=gamma))
        decoded = [_decode(record, counter) for record in records]
        side = revision.resolution
        latents = family.encode_pictures(torch.stack([pixels(image, side) for image in decoded]))
        sizes = torch.stack([crop_sizes(image, side) for image in decoded]).to(family.device)
        conditions = family.encode_captions([record.caption for record in records])
        pairs = [(at, level) for at in range(len(records)) for level in range(self.levels)]
        for first in range(0, len(pairs), BATCH_SIZE):
            revision.raise_if_stopping()
            some = pairs[first : first + BATCH_SIZE]
            rows = torch.tensor([at for at, _ in some])
            chosen = {name: values[rows] for name, values in conditions.items()}
            batch = self._losses(revision, objective, latents[rows], chosen, sizes[rows], some)
            for (at, _), loss in zip(some, batch, strict=True):
                losses[records[at].name].append(loss)
            revision.advance((first + len(some)) // self.levels)
        figure = Measurement({name: fmean(values) for name, values in losses.items()})
        return EvaluatorResult({"heldout_loss": figure}, omissions=counter.omissions())

    def _losses(
        self,
        revision: EvaluatedRevision,
        objective: Objective,
        latents: Tensor,
        conditions: Conditions,
        sizes: Tensor,
        pairs: list[tuple[int, int]],
    ) -> list[float]:
        """Compute the loss of each pair of a record and a level, given what the denoiser sees."""
        family = revision.family
        noise, shares = [], []
        for at, level in pairs:
            # By the record's digest, so that one record more or less changes no other's noise.
            dice = torch.Generator().manual_seed(
                noise_seed(self.seed, revision.records[at].digest, level)
            )
            shares.append((level + float(torch.rand((), generator=dice))) / self.levels)
            noise.append(torch.randn(latents.shape[1:], generator=dice))
        levels = objective.levels_at(shares).to(family.device)
        losses = denoising_losses(
            objective,
            lambda noisy: family.predict(
                revision.denoiser, noisy.to(family.dtype), levels, conditions, sizes
            ),
            latents,
            torch.stack(noise).to(family.device, latents.dtype),
            levels,
        )
        return [float(loss) for loss in losses]


def _decode(record: Record, counter: OmissionCounter) -> Image.Image:
    try:
        decoded = record.decode_with_notes()
    except CorruptPicture as error:
        raise Refused(
            f"A held-out picture cannot be decoded: {error}.",
            help="replace it, or remove it with its caption",
            exit_code=ExitCode.BAD_DATA,
        ) from error
    for note in decoded.notes:
        counter.add(note, record.name)
    return decoded.image
