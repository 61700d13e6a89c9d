"""The evaluator `heldout_loss`: the training's denoising loss on held-out records.

Records, noise and noise levels are fixed. Of all figures it says most for a second of work.
"""

from collections import defaultdict
from statistics import fmean

import torch
from torch import Tensor

from stockpot.api.options import HeldoutLossOptions
from stockpot.core.omissions import OmissionCounter
from stockpot.diffusion.objective import loss_weight, target
from stockpot.diffusion.pictures import pixels
from stockpot.diffusion.pipeline import encode_captions, encode_pictures
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
        latents = encode_pictures(revision.parts, _pictures(revision, counter))
        records = revision.records
        conditions = encode_captions(revision.parts, [record.caption for record in records])
        pairs = [(at, level) for at in range(len(records)) for level in range(self.levels)]
        for first in range(0, len(pairs), BATCH_SIZE):
            revision.raise_if_stopping()
            some = pairs[first : first + BATCH_SIZE]
            rows = torch.tensor([at for at, _ in some])
            batch = self._losses(revision, latents[rows], conditions[rows], some)
            for (at, _), loss in zip(some, batch, strict=True):
                losses[records[at].name].append(loss)
            revision.advance((first + len(some)) // self.levels)
        figure = Measurement({name: fmean(values) for name, values in losses.items()})
        return EvaluatorResult({"heldout_loss": figure}, omissions=counter.omissions())

    def _losses(
        self,
        revision: EvaluatedRevision,
        latents: Tensor,
        conditions: Tensor,
        pairs: list[tuple[int, int]],
    ) -> list[float]:
        """Compute the loss of each pair of a record and a level, given their latents."""
        scheduler, device = revision.parts.scheduler, revision.parts.device
        last = int(scheduler.config.num_train_timesteps)
        noise, timesteps = [], []
        for at, level in pairs:
            # By the record's digest, so that one record more or less changes no other's noise.
            dice = torch.Generator().manual_seed(
                noise_seed(self.seed, revision.records[at].digest, level)
            )
            share = (level + float(torch.rand((), generator=dice))) / self.levels
            timesteps.append(min(int(share * last), last - 1))
            noise.append(torch.randn(latents.shape[1:], generator=dice))
        noises = torch.stack(noise).to(device, latents.dtype)
        levels = torch.tensor(timesteps, device=device)
        noisy = scheduler.add_noise(latents, noises, levels)
        predicted = revision.unet(noisy, levels, encoder_hidden_states=conditions).sample
        wanted = target(scheduler, latents, noises, levels)
        error = (predicted.float() - wanted).square().mean((1, 2, 3))
        return [float(x) for x in error * loss_weight(scheduler, levels, self.snr_gamma)]


def _pictures(revision: EvaluatedRevision, counter: OmissionCounter) -> Tensor:
    return torch.stack(
        [_pixels(record, revision.resolution, counter) for record in revision.records]
    )


def _pixels(record: Record, resolution: int, counter: OmissionCounter) -> Tensor:
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
    return pixels(decoded.image, resolution)
