"""How well a revision removes noise from records that it has not seen.

The training's own objective, on fixed records, fixed noise and fixed noise levels: of all figures
the one that says most for a second of work.
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
from stockpot.evaluation.figures import Figure
from stockpot.evaluation.subject import AT_ONCE, Findings, Subject, noise_seed


class HeldoutLoss(HeldoutLossOptions):
    """The weighted denoising loss, as `heldout_loss`; lower is better."""

    @torch.no_grad()
    def evaluate(self, subject: Subject) -> Findings:
        losses: dict[str, list[float]] = defaultdict(list)
        counter = OmissionCounter()
        latents = encode_pictures(subject.parts, _pictures(subject, counter))
        conditions = encode_captions(subject.parts, [record.caption for record in subject.records])
        pairs = [(at, level) for at in range(len(subject.records)) for level in range(self.levels)]
        for first in range(0, len(pairs), AT_ONCE):
            subject.go_on()
            some = pairs[first : first + AT_ONCE]
            rows = torch.tensor([at for at, _ in some])
            found = self._losses(subject, latents[rows], conditions[rows], some)
            for (at, _), loss in zip(some, found, strict=True):
                losses[subject.records[at].name].append(loss)
            subject.advance((first + len(some)) // self.levels)
        figure = Figure({name: fmean(values) for name, values in losses.items()})
        return Findings({"heldout_loss": figure}, omissions=counter.omissions())

    def _losses(
        self,
        subject: Subject,
        latents: Tensor,
        conditions: Tensor,
        pairs: list[tuple[int, int]],
    ) -> list[float]:
        """Say what each pair of a record and a level costs; latents and conditions are theirs."""
        scheduler, device = subject.parts.scheduler, subject.parts.device
        last = int(scheduler.config.num_train_timesteps)
        noise, timesteps = [], []
        for at, level in pairs:
            # By the record's digest, so that another record more or less changes no other's noise.
            dice = torch.Generator().manual_seed(
                noise_seed(self.seed, subject.records[at].digest, level)
            )
            share = (level + float(torch.rand((), generator=dice))) / self.levels
            timesteps.append(min(int(share * last), last - 1))
            noise.append(torch.randn(latents.shape[1:], generator=dice))
        noises = torch.stack(noise).to(device, latents.dtype)
        levels = torch.tensor(timesteps, device=device)
        noisy = scheduler.add_noise(latents, noises, levels)
        predicted = subject.unet(noisy, levels, encoder_hidden_states=conditions).sample
        wanted = target(scheduler, latents, noises, levels)
        error = (predicted.float() - wanted).square().mean((1, 2, 3))
        return [float(x) for x in error * loss_weight(scheduler, levels, self.snr_gamma)]


def _pictures(subject: Subject, counter: OmissionCounter) -> Tensor:
    return torch.stack([_pixels(record, subject.resolution, counter) for record in subject.records])


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
