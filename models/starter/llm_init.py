"""A copying circuit, laid into the first two layers and kept there.

What this model must do is find a word in the talk and say it again ("induction"). The circuit
has three parts that must find each other: heads that tell each place which tokens stand
before it, heads that look for the present token among those, and the way back from what was
found to a word. From random weights that takes far more steps than a CPU has time for. So
half of the heads of layers 0 and 1 are given and never change; all other weights are learnt
around them. The architecture stays plain Llama.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_model import LanguageModel

SHARP = 4  # rotary frequencies, from the fastest, that tell neighbours apart
WAVE = 10.0  # how sharply
WRITE = 0.05  # size of what a head that looks back adds, beside embeddings of norm about 0.4
MATCH = 3.0  # how strongly a token looks for its like
COPY = 0.4  # size of what is added when it has found one
PLACE = 0.3  # the last embedding dimension holds this for all tokens, so heads can look by place alone
FINAL = 2.5  # final norm at first: how loudly the state is read out


def _rotated(vector: Tensor, frequency: Tensor, by: float) -> Tensor:
    """Rotary embedding of one head vector by `by` positions."""
    first, second = vector.chunk(2)
    cos, sin = (frequency * by).cos(), (frequency * by).sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin])


class GivenHeads:
    """The given weights; `restore` puts them back after an optimizer step."""

    @torch.no_grad()
    def __init__(self, model: LanguageModel) -> None:
        c = model.config
        self.size, self.dim = c["hidden_size"], c["head_dim"]
        self.group = c["num_attention_heads"] // c["num_key_value_heads"]
        self.frequency = c["rope_theta"] ** (-torch.arange(0, self.dim, 2).float() / self.dim)
        embedding, layers = model.model.embed_tokens.weight, model.model.layers
        model.model.norm.weight.fill_(FINAL)
        self.given = [(embedding[:, -1], torch.full_like(embedding[:, -1], PLACE))]
        for layer in layers[:2]:
            norm = layer.input_layernorm.weight
            self.given.append((norm, torch.ones_like(norm)))
        self.restore()
        basis = torch.linalg.qr(torch.randn(self.size - 1, self.size - 1)).Q.T
        basis = torch.cat([basis, torch.zeros(self.size - 1, 1)], dim=1)
        third = (self.size - 1) // 3
        reader, before, before2 = (basis[i * third : (i + 1) * third] for i in range(3))
        self._look_back(layers[0].self_attn, embedding, reader, [before, before2])
        self._match(layers[1].self_attn, reader, before, before2)
        self.restore()

    def _look_back(self, attention, embedding: Tensor, reader: Tensor, writers: list[Tensor]) -> None:
        """Head i of layer 0 tells each place what stood i + 1 before, in a subspace of its own."""
        seen = self.size**0.5 * PLACE / embedding.norm(dim=1).mean()
        wave = torch.zeros(self.dim)
        wave[:SHARP] = WAVE

        def by_place(vector: Tensor) -> Tensor:
            weight = torch.zeros(self.dim, self.size)
            weight[:, -1] = vector / seen
            return weight

        def padded(rows: Tensor) -> Tensor:
            return torch.cat([rows, torch.zeros(self.dim - len(rows), self.size)])

        for head in range(self.group):
            self._give(attention.q_proj, head, by_place(_rotated(wave, self.frequency, -head)))
            span = slice(head * self.dim, (head + 1) * self.dim)
            self.given.append((attention.o_proj.weight[:, span], WRITE * padded(writers[head]).T))
        self._give(attention.k_proj, 0, by_place(_rotated(wave, self.frequency, 1)))
        self._give(attention.v_proj, 0, padded(reader))

    def _match(self, attention, reader: Tensor, before: Tensor, before2: Tensor) -> None:
        """Layer 1: head 0 looks for what followed the present token, head 1 for what followed the last two."""
        half = self.dim // 2
        slow = torch.cat([torch.arange(half // 2, half), torch.arange(half + half // 2, self.dim)])
        one, two = (torch.randn(len(slow), len(reader)) / len(slow) ** 0.5 for _ in range(2))

        def in_slow(rows: Tensor) -> Tensor:
            weight = torch.zeros(self.dim, self.size)
            weight[slow] = MATCH * rows
            return weight

        self._give(attention.q_proj, 0, in_slow(one @ reader))
        self._give(attention.q_proj, 1, in_slow(one @ reader + two @ before))
        self._give(attention.k_proj, 0, in_slow(one @ before + two @ before2))
        copied = torch.linalg.qr(torch.randn(self.size - 1, self.dim)).Q.T
        copied = torch.cat([copied, torch.zeros(self.dim, 1)], dim=1)
        attention.v_proj.weight[: self.dim] = copied  # a start only: how loudly to copy is learnt
        for head in range(self.group):
            attention.o_proj.weight[:, head * self.dim : (head + 1) * self.dim] = COPY * copied.T

    def _give(self, linear, head: int, weight: Tensor) -> None:
        self.given.append((linear.weight[head * self.dim : (head + 1) * self.dim], weight))

    @torch.no_grad()
    def restore(self) -> None:
        """Write the given weights (views into the parameters)."""
        for view, value in self.given:
            view.copy_(value)
