"""Train the starter Whisper on the CPU.

Cross-entropy on the decoder plus half a CTC loss over phonemes on the encoder, through a
linear head that is thrown away: without it the alignment of sound and text is slow to
appear. Matrices inside the blocks are trained with Muon, everything else with AdamW; the
learning rate follows a cosine to zero over the steps or the minutes, whichever end first.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from stt_batches import Batch, Reader
from stt_eval import Network, Score, heldout
from stt_model import BUILD, Config, Tokenizer, Whisper, save_checkpoint

WARM_UP, WARM_UP_AGAIN = 200, 40  # steps, at the start and after a restart
CTC_WEIGHT = 0.5


class Trainer:
    """The network, its throw-away CTC head and the two optimisers."""

    def __init__(self, cfg: Config, n_phonemes: int, rate: float, muon: bool):
        self.model = Whisper(cfg)
        self.ctc_head = nn.Linear(cfg.n_state, n_phonemes)
        matrices = [p for n, p in self.model.named_parameters() if ".blocks." in n and p.dim() == 2]
        chosen = {id(p) for p in matrices} if muon else set()
        others = [p for p in [*self.model.parameters(), *self.ctc_head.parameters()] if id(p) not in chosen]
        decayed = [p for p in others if p.dim() >= 2]
        plain = [p for p in others if p.dim() < 2]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self._optimisers = [torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)]
        if muon:
            self._optimisers.append(torch.optim.Muon(
                matrices, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"))
        self._rate = rate

    def step(self, batch: Batch, progress: float, warmth: float) -> tuple[float, float]:
        """One update; returns the two losses."""
        scale = min(1.0, warmth) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        with torch.autocast("cpu", torch.bfloat16):
            audio = self.model.encoder(batch.mel)
            logits = self.model.decoder(batch.tokens, audio)
            phonemes = self.ctc_head(audio)
        text_loss = F.cross_entropy(logits.float().flatten(0, 1), batch.labels.flatten())
        ctc_loss = self._ctc(phonemes.float(), batch)
        (text_loss + CTC_WEIGHT * ctc_loss).backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.ctc_head.parameters()], 1.0)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self._rate * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return text_loss.item(), ctc_loss.item()

    @staticmethod
    def _ctc(phonemes: torch.Tensor, batch: Batch) -> torch.Tensor:
        lengths = torch.full((len(phonemes),), phonemes.shape[1])
        logs = F.log_softmax(phonemes, -1).transpose(0, 1)
        return F.ctc_loss(logs, batch.phonemes, lengths, batch.phoneme_lengths, zero_infinity=True)


def validate(model: Whisper, tokenizer: Tokenizer, sets: dict) -> dict[str, float]:
    """Word error rate by condition on some held-out sentences."""
    model.eval()
    out = {}
    for condition in ("clean", "noisy"):
        score = Score()
        items = sets[condition]
        heard = Network(model, tokenizer).transcribe([pcm for _, _, pcm in items])
        for (_, text, _), got in zip(items, heard, strict=True):
            score.add(text, got)
        out[condition] = score.report()["word_error_rate"]
    model.train()
    return out


class Run:
    """Where a training run stands: its step and its time (over restarts too)."""

    def __init__(self, args: argparse.Namespace, trainer: Trainer, tokenizer: Tokenizer):
        self._args, self._trainer, self._tokenizer = args, trainer, tokenizer
        self._sets = heldout(args.build, args.validation, args.seed)
        self._begin, self._earlier = time.monotonic(), 0.0
        self.step = 0
        self.warm_up = WARM_UP
        last = args.build / "last.pt"
        resume = args.resume and last.exists()
        if resume or args.init:
            saved = torch.load(last if resume else args.init, map_location="cpu", weights_only=True)
            trainer.model.load_state_dict(saved["model"])
            trainer.ctc_head.load_state_dict(saved["ctc_head"])
            self.warm_up = WARM_UP_AGAIN
        if resume:
            self.step, self._earlier = saved["step"], saved["minutes"]

    def minutes(self) -> float:
        return self._earlier + (time.monotonic() - self._begin) / 60

    def progress(self) -> float:
        """0 at the start, 1 where the steps or the minutes are used up."""
        return max(self.step / self._args.steps, self.minutes() / self._args.minutes)

    def checkpoint(self) -> None:
        """Keep the weights and tell how they do; the held-out voices never choose among weights."""
        rates = validate(self._trainer.model, self._tokenizer, self._sets)
        tqdm.write(f"held-out word error: {rates}")
        save_checkpoint(self._args.build / "last.pt", self._trainer.model, step=self.step,
                        minutes=self.minutes(), ctc_head=self._trainer.ctc_head.state_dict())


def train(args: argparse.Namespace) -> None:
    """Until the steps or the minutes are used up; `last.pt` is written as it goes."""
    tokenizer = Tokenizer.load(args.build / "words.json")
    cfg = Config(n_state=args.state, n_audio_layer=args.layers, n_words=len(tokenizer.words))
    reader = Reader(args.build, tokenizer, args.seed)
    trainer = Trainer(cfg, reader.n_phonemes, args.rate, not args.no_muon)
    run = Run(args, trainer, tokenizer)
    first = run.step
    reader.rng = np.random.default_rng([args.seed, first])  # a resumed run reads other examples
    batches = reader.batches(trainer.model.decoder)
    recent: list[tuple[float, float]] = []
    bar = tqdm(total=args.steps, initial=first, mininterval=10)
    while (progress := run.progress()) < 1.0:
        recent.append(trainer.step(next(batches), progress, (run.step - first + 1) / run.warm_up))
        run.step += 1
        bar.update()
        if run.step % 50 == 0:
            text_loss, ctc_loss = np.mean(recent, axis=0)
            recent.clear()
            tqdm.write(f"step {run.step}, {run.minutes():.1f} min ({progress:.3f}): "
                       f"text {text_loss:.3f} ctc {ctc_loss:.3f}")
        if run.step % args.every == 0:
            run.checkpoint()
    run.checkpoint()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--minutes", type=float, default=95)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--resume", action="store_true", help="go on from last.pt")
    parser.add_argument("--init", type=Path, help="start from these weights, with a schedule of their own")
    parser.add_argument("--no-muon", action="store_true", help="AdamW for everything")
    parser.add_argument("--state", type=int, default=Config.n_state)
    parser.add_argument("--layers", type=int, default=Config.n_audio_layer)
    parser.add_argument("--validation", type=int, default=150, help="sentences of each validation")
    parser.add_argument("--every", type=int, default=500, help="steps between validations")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=Path, default=BUILD)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train(args)


if __name__ == "__main__":
    main()
