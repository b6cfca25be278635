"""The language model: Llama's decoder written plainly, with a cache that goes in and comes out.

Parameter names are those of `transformers`' LlamaForCausalLM, so the trained weights load
there, which is how the export is verified. One class serves training (no cache, causal
attention) and export (cache in, cache out), so there is no second implementation to drift.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 500000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "dtype": "float32",
}


class RMSNorm(nn.Module):
    """Root-mean-square norm, in f32 as Llama does it."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return x * scale * self.weight


def rope_tables(config: dict, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [B, 1, S, head_dim] of rotary position embedding."""
    dim = config["head_dim"]
    frequency = config["rope_theta"] ** (-torch.arange(0, dim, 2).float() / dim)
    angle = positions[:, None, :, None].float() * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary embedding, halves layout (as in `transformers`)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, c: dict) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.q_proj = nn.Linear(c["hidden_size"], self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(c["hidden_size"], self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(c["hidden_size"], self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c["hidden_size"], bias=False)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(x.shape[0], x.shape[1], heads, self.dim).transpose(1, 2)

    def forward(self, x: Tensor, rope, mask: Tensor | None, past) -> tuple[Tensor, Tensor, Tensor]:
        q = rotate(self._split(self.q_proj(x), self.heads), *rope)
        k = rotate(self._split(self.k_proj(x), self.kv_heads), *rope)
        v = self._split(self.v_proj(x), self.kv_heads)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        group = self.heads // self.kv_heads
        wide_k, wide_v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        if mask is None:
            # f32: the backward pass of the bf16 kernel is three times slower on short rows
            out = F.scaled_dot_product_attention(q.float(), wide_k.float(), wide_v.float(), is_causal=True)
        else:
            scores = q @ wide_k.transpose(2, 3) * self.dim**-0.5 + mask
            out = scores.softmax(dim=-1) @ wide_v
        out = out.transpose(1, 2).reshape(x.shape[0], x.shape[1], self.heads * self.dim)
        return self.o_proj(out), k, v


class MLP(nn.Module):
    """Gated feed-forward."""

    def __init__(self, c: dict) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.up_proj = nn.Linear(c["hidden_size"], c["intermediate_size"], bias=False)
        self.down_proj = nn.Linear(c["intermediate_size"], c["hidden_size"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, c: dict) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x: Tensor, rope, mask: Tensor | None, past) -> tuple[Tensor, Tensor, Tensor]:
        attended, k, v = self.self_attn(self.input_layernorm(x), rope, mask, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), k, v


class Decoder(nn.Module):
    """Embedding, layers, final norm; kept apart from the head to match `transformers`' names."""

    def __init__(self, c: dict) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])


class LanguageModel(nn.Module):
    """The whole decoder; the head is the embedding, tied."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / ((2 * config["num_hidden_layers"]) ** 0.5 if deep else 1))

    def hidden(self, ids: Tensor) -> Tensor:
        """Training path: states [B, S, D] of whole right-padded sequences."""
        positions = torch.arange(ids.shape[1])[None, :]
        rope = rope_tables(self.config, positions)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x, _, _ = layer(x, rope, None, None)
        return self.model.norm(x)

    def head(self, states: Tensor) -> Tensor:
        """Logits of states."""
        return F.linear(states, self.model.embed_tokens.weight)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *cache: Tensor):
        """Export path, the onnx-community contract: logits, then key and value of each layer."""
        seq, total = input_ids.shape[1], attention_mask.shape[1]
        row = torch.arange(total - seq, total)[:, None]
        causal = torch.arange(total)[None, :] <= row
        allowed = causal[None, None] & attention_mask[:, None, None, :].bool()
        mask = torch.where(allowed, 0.0, -1e9)
        rope = rope_tables(self.config, position_ids)
        x, present = self.model.embed_tokens(input_ids), []
        for i, layer in enumerate(self.model.layers):
            x, k, v = layer(x, rope, mask, (cache[2 * i], cache[2 * i + 1]))
            present += [k, v]
        return (self.head(self.model.norm(x)), *present)
