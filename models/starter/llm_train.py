"""Train the starter language model on talks made on the fly: `python llm_train.py --help`.

Every step sees new talks, so the model cannot learn them by heart; what it can learn is to
find a fact in the talk and copy it. Talks grow over the first part of the run, because that
skill appears much sooner on short talks. A run can be stopped and taken up again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path

import onnx
import torch
from torch.nn import functional as F
from tqdm import tqdm

import llm_data as data
import wording
from llm_init import GivenHeads
from llm_model import CONFIG, LanguageModel
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
VOCAB = 3072
SPECIALS = [data.PAD, data.START, data.END]
TOOL_MARKS = ["<tool_call>", "</tool_call>", "<tools>", "</tools>"]


def train_tokenizer(path: Path, seed: int) -> None:
    """Byte-level BPE over the domain: most of its words become one token, all else still encodes."""
    rng = random.Random(seed)

    def texts():
        for _ in range(12_000):
            yield from (m["content"] for m in data.training_messages(rng, 2, 10))
        for word in wording.COPY_WORDS:  # a floor under the rare words, so that each is one token
            yield f"a {word} {word.lower()} " * 200
            yield from [word.capitalize()] * 120

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(TOOL_MARKS), special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(), trainer)
    # As in Qwen's tokenizers: the marks are single tokens but stay in decoded text.
    tokenizer.add_tokens([AddedToken(m, special=False, normalized=False) for m in TOOL_MARKS])
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


class Batches:
    """Batches of similar length, about `tokens` tokens each, without end."""

    def __init__(self, encoder: data.Encoder, rng: random.Random, tokens: int) -> None:
        self.encoder, self.rng, self.tokens = encoder, rng, tokens
        self.ready: list[list] = []

    def _turns(self, progress: float) -> tuple[int, int]:
        if progress < 0.12:
            return 2, 5
        if progress < 0.40:
            return 2, 8
        roll = self.rng.random()
        return (2, 14) if roll < 0.85 else (14, 30)

    def _fill(self, progress: float) -> None:
        talks = []
        for _ in range(400):
            low, high = self._turns(progress)
            drill = 0.3 if progress < 0.12 else 0.0
            ids, weights = self.encoder.encode(data.training_messages(self.rng, low, high, drill))
            talks.append((ids[:1500], weights[:1500]))
        talks.sort(key=lambda t: len(t[0]))
        batch: list = []
        for talk in talks:
            if batch and len(talk[0]) * (len(batch) + 1) > self.tokens:
                self.ready.append(batch)
                batch = []
            batch.append(talk)
        self.ready.append(batch)
        self.rng.shuffle(self.ready)

    def next(self, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and weights [B, S], padded right; causal attention needs no mask for that."""
        if not self.ready:
            self._fill(progress)
        batch = self.ready.pop()
        width = -(-max(len(ids) for ids, _ in batch) // 32) * 32  # few shapes: oneDNN keeps buffers for each
        ids = torch.tensor([i + [self.encoder.pad] * (width - len(i)) for i, _ in batch])
        weights = torch.tensor([w + [0.0] * (width - len(w)) for _, w in batch])
        return ids, weights


def rate_at(progress: float, step: int, peak: float) -> float:
    """Warm up over 50 steps, hold, then fall to a fiftieth over the last 40 %."""
    return peak * min(1.0, (step + 1) / 50, max(0.02, (1.0 - progress) / 0.4))


def loss_of(model: LanguageModel, ids: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Weighted cross-entropy, and the share of assistant tokens that were predicted right."""
    with torch.autocast("cpu", torch.bfloat16):
        states = model.hidden(ids[:, :-1])
        keep = weights[:, 1:] > 0
        logits = model.head(states[keep]).float()
    targets, kept = ids[:, 1:][keep], weights[:, 1:][keep]
    losses = F.cross_entropy(logits, targets, reduction="none")
    spoken = kept >= 1.0
    right = (logits[spoken].argmax(-1) == targets[spoken]).float().mean().item()
    return (losses * kept).sum() / kept.sum(), right


class Optimizers:
    """Muon for the matrices, AdamW for embedding and norms, stepped as one; given weights stay given."""

    def __init__(self, model: LanguageModel, rate: float) -> None:
        named = list(model.named_parameters())
        matrices = [p for n, p in named if p.dim() == 2 and "embed" not in n]
        rest = [p for n, p in named if p.dim() != 2 or "embed" in n]
        self.parts = [
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)]
        self.looking_back = GivenHeads(model)

    def step(self, rate: float) -> None:
        """One update of everything at this rate."""
        for part, share in zip(self.parts, (1.0, 0.4), strict=True):
            part.param_groups[0]["lr"] = rate * share
            part.step()
            part.zero_grad(set_to_none=True)
        self.looking_back.restore()

    def state_dict(self) -> list[dict]:
        """For the checkpoint."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        """From the checkpoint."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def save(path: Path, model: LanguageModel, optimizer, step: int, seconds: float) -> None:
    """Write a checkpoint so that a reader never sees half of it."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "config": model.config,
             "step": step, "seconds": seconds}
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def exported_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in an exported graph, by their names in the model: checkpoints are not kept with the sources."""
    graph = onnx.load(path).graph
    weights = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer}
    return {name: weight for name, weight in weights.items() if name.startswith("model.")}


def train(args: argparse.Namespace) -> None:
    """The training loop."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    encoder = data.Encoder(str(BUILD / "tokenizer.json"))
    model = LanguageModel({**CONFIG, "vocab_size": encoder.tokenizer.get_vocab_size()})
    optimizer = Optimizers(model, args.rate)
    first, before, checkpoint = 0, 0.0, BUILD / "llm.pt"
    if checkpoint.exists() and not args.fresh:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, before = state["step"], state["seconds"]
    elif args.start_from:
        # The exporter stores equal tensors once; the given norms are such, and are in place already.
        missing = model.load_state_dict(exported_weights(args.start_from), strict=False).missing_keys
        assert all("input_layernorm" in name for name in missing), missing
    batches = Batches(encoder, random.Random(args.seed * 1_000_003 + first), args.tokens)
    started, log = time.time(), (BUILD / "llm_log.jsonl").open("a")
    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, desc="llm", mininterval=5)
    for step in bar:
        seconds = before + time.time() - started
        progress = max(step / args.steps, seconds / 60 / args.minutes)
        loss, right = loss_of(model, *batches.next(progress))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(rate_at(progress, step, args.rate))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", right=f"{right:.3f}")
            log.write(json.dumps({"step": step, "loss": round(loss.item(), 4), "right": round(right, 4)}) + "\n")
            log.flush()
        last = progress >= 1.0 or step + 1 == args.steps
        if (step + 1) % 100 == 0 or last:
            save(checkpoint, model, optimizer, step + 1, seconds)
        if last:
            break


def main() -> None:
    """Make the tokenizer if there is none, then train."""
    parser = argparse.ArgumentParser(description="Train the starter language model.")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=115, help="end the schedule by this time at the latest")
    parser.add_argument("--tokens", type=int, default=3000, help="tokens a step, padding included")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fresh", action="store_true", help="ignore an existing checkpoint")
    parser.add_argument("--start-from", type=Path, metavar="ONNX",
                        help="begin with the weights of an exported model and its tokenizer, as `llm/onnx/model.onnx`")
    parser.add_argument("--only-tokenizer", action="store_true")
    args = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    if args.start_from:
        shutil.copyfile(args.start_from.parent.parent / "tokenizer.json", BUILD / "tokenizer.json")
    elif args.fresh or not (BUILD / "tokenizer.json").exists():
        train_tokenizer(BUILD / "tokenizer.json", args.seed)
    if not args.only_tokenizer:
        train(args)


if __name__ == "__main__":
    main()
