"""Train the base of the example, from random numbers to a folder that diffusers opens.

Two processes of one thread each, gloo between them, a fixed number of steps, a seed: on the same
processor and packages the same weights come out. Cut off at any time, it goes on from its last
checkpoint to the same end, because each step draws its randomness from its own number.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from assemble import BASE, assemble
from diffusers import DDIMScheduler, UNet2DConditionModel
from fetch import cache_folder
from prepared import LATENT_CHANNELS, Prepared, load, prepare
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed

from stockpot.diffusion.objectives import Ddpm, denoising_losses
from stockpot.diffusion.patch_codec import PatchCodec

SEED = 0
RANKS = 2
STEPS = 6_000
BATCH_PER_RANK = 32
LEARNING_RATE = 1e-3
WARMUP_STEPS = 100
EMA_DECAY = 0.999
SNR_GAMMA = 5.0
EMPTY_CAPTIONS = 0.1
MAX_GRADIENT_NORM = 1.0
CHECKPOINT_STEPS = 250
REPORT_S = 30

MODEL_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["stockpot.diffusion.patch_codec", "PatchCodec"],
}


def a_unet() -> Any:
    """The denoiser: 4.27 million parameters on 8 by 8 latents of 24 channels."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=384,
        attention_head_dim=2,  # diffusers' name for the number of heads
        norm_num_groups=16,
    )


def a_scheduler() -> Any:
    """Stable Diffusion's schedule, ended at pure noise so that white grounds come out white.

    Zero terminal SNR and trailing steps: Lin et al. 2023, arXiv:2305.08891.
    """
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def bf16_is_native() -> bool:
    """Whether this processor multiplies bfloat16 by itself; emulated, it is slower than fp32."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()


class Training:
    """The state that a checkpoint holds: weights, their moving average, AdamW's moments, a step."""

    def __init__(self) -> None:
        torch.manual_seed(SEED)
        self.unet = a_unet()
        self.parameters = dict(self.unet.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            LEARNING_RATE,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=True,
        )
        self.step = 0

    def take_step(self, data: Prepared, scheduler: DDIMScheduler, rank: int) -> float:
        """One step of all ranks together; the mean loss over them."""
        # Every step draws from its own seed, so that a resumed run draws what an uncut one draws.
        randomness = torch.Generator().manual_seed((SEED * 1_000_000 + self.step) * RANKS + rank)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step)
        loss = self._loss(data, scheduler, randomness)
        self.optimizer.zero_grad()
        loss.backward()
        mean_loss = self._mean_over_ranks(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.step += 1
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        weights = [p.detach() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)
        return mean_loss

    def _loss(self, data: Prepared, scheduler: Any, randomness: torch.Generator) -> Tensor:
        def integers(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (BATCH_PER_RANK,), generator=randomness)

        picture = integers(0, len(data.latents))
        latents = data.latents[picture, integers(0, 2)]
        # Half of the captions are the label alone, half one of the two variants with keywords.
        caption = 1 + 3 * data.concept[picture] + integers(-1, 3).clamp(min=0)
        caption[torch.rand(BATCH_PER_RANK, generator=randomness) < EMPTY_CAPTIONS] = 0
        timesteps = integers(0, scheduler.config.num_train_timesteps)
        noise = torch.randn(latents.shape, generator=randomness)

        def predict(noisy: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_native()):
                predicted: Tensor = self.unet(noisy, timesteps, data.captions[caption]).sample
                return predicted

        objective = Ddpm(scheduler, SNR_GAMMA)
        return denoising_losses(objective, predict, latents, noise, timesteps).mean()

    def _mean_over_ranks(self, loss: Tensor) -> float:
        """Average gradients in place in one exchange, and the loss with them."""
        gradients = [p.grad for p in self.parameters.values()]
        flat = torch.cat([*(g.flatten() for g in gradients if g is not None), loss.reshape(1)])
        distributed.all_reduce(flat)
        flat /= RANKS
        sizes = [p.numel() for p in self.parameters.values()]
        for gradient, part in zip(gradients, flat[:-1].split(sizes), strict=True):
            if gradient is not None:
                gradient.copy_(part.view_as(gradient))
        return flat[-1].item()

    def save(self, file: Path) -> None:
        """Write a checkpoint; one under its final name is whole."""
        tensors = {}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            tensors[f"weight/{name}"] = parameter.detach()
            tensors[f"average/{name}"] = self.average[name]
            tensors[f"first/{name}"] = moments["exp_avg"]
            tensors[f"second/{name}"] = moments["exp_avg_sq"]
        partial = file.with_suffix(".part")
        save_file(tensors, partial, metadata={"step": str(self.step)})
        partial.replace(file)

    @torch.no_grad()
    def resume(self, file: Path) -> None:
        """Go on from a checkpoint."""
        with safe_open(file, "pt") as checkpoint:
            self.step = int(checkpoint.metadata()["step"])
            for name, parameter in self.parameters.items():
                parameter.copy_(checkpoint.get_tensor(f"weight/{name}"))
                self.average[name].copy_(checkpoint.get_tensor(f"average/{name}"))
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": checkpoint.get_tensor(f"first/{name}"),
                    "exp_avg_sq": checkpoint.get_tensor(f"second/{name}"),
                }


def learning_rate(step: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    warmup = min(1, (step + 1) / WARMUP_STEPS)
    return LEARNING_RATE * warmup * (0.5 + 0.48 * math.cos(math.pi * step / STEPS))


def train(rank: int, run: Path) -> None:
    """One rank, from the last checkpoint to the last step."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(run / "rendezvous"), RANKS)  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    data, scheduler, training = load(run / "prepared.safetensors"), a_scheduler(), Training()
    checkpoint = run / "checkpoint.safetensors"
    if checkpoint.exists():
        training.resume(checkpoint)
    distributed.barrier()  # nobody saves before everybody has read
    begun_s = reported_s = time.monotonic()
    first_step, running = training.step, float("nan")
    while training.step < STEPS:
        loss = training.take_step(data, scheduler, rank)
        running = loss if math.isnan(running) else 0.98 * running + 0.02 * loss
        if rank > 0:
            continue
        now_s = time.monotonic()
        if now_s - reported_s > REPORT_S or training.step == STEPS:
            reported_s = now_s
            step_s = (now_s - begun_s) / (training.step - first_step)
            left_min = (STEPS - training.step) * step_s / 60
            print(
                f"step {training.step} of {STEPS}, loss {running:.4f}, "
                f"{step_s * 1000:.0f} ms a step, {left_min:.0f} min left",
                flush=True,
            )
        if training.step % CHECKPOINT_STEPS == 0 or training.step == STEPS:
            training.save(checkpoint)
    distributed.destroy_process_group()


def publish(run: Path, base: Path) -> int:
    """Write the moving average of the last checkpoint, rounded to fp16; return its step."""
    unet = a_unet()
    with safe_open(run / "checkpoint.safetensors", "pt") as checkpoint:
        step = int(checkpoint.metadata()["step"])
        names = unet.state_dict().keys()
        unet.load_state_dict({name: checkpoint.get_tensor(f"average/{name}") for name in names})
    unet.half().save_pretrained(base / "unet")
    a_scheduler().save_pretrained(base / "scheduler")
    PatchCodec.from_pretrained(run / "vae").save_pretrained(base / "vae")
    # diffusers adds the path that a model was loaded from: a fact about this machine only.
    codec = json.loads((base / "vae" / "config.json").read_text())
    codec.pop("_name_or_path", None)
    _write_json(base / "vae" / "config.json", codec)
    _write_json(base / "model_index.json", MODEL_INDEX)
    for file in itertools.chain(base.glob("unet/*"), base.glob("vae/*")):
        file.chmod(0o644)  # safetensors writes 0600, which other users' pods could not read
    return step


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Prepare, train, publish; or only publish what a run has reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=cache_folder() / "base-run")
    parser.add_argument("--base", type=Path, default=BASE, help="folder to publish to")
    parser.add_argument("--publish-only", action="store_true", help="do not train")
    arguments = parser.parse_args()
    run, base = arguments.run, arguments.base
    run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if not arguments.publish_only:
        if not (run / "prepared.safetensors").exists():
            prepare(run / "prepared.safetensors", run / "vae")
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        (run / "rendezvous").unlink(missing_ok=True)  # a run that was cut off left its own
        precision = "bf16 autocast" if bf16_is_native() else "fp32"
        print(f"Training {STEPS} steps of {RANKS} x {BATCH_PER_RANK} in {precision}", flush=True)
        torch.multiprocessing.spawn(train, (run,), RANKS)  # type: ignore[attr-defined]
    step = publish(run, base)
    assemble(base)
    print(f"{base}: the moving average after {step} of {STEPS} steps")


if __name__ == "__main__":
    main()
