"""Export the trained language model as a hub export looks, and prove that it says the same.

Writes `config.json`, `generation_config.json`, `tokenizer.json`, `tokenizer_config.json` and
`onnx/model.onnx` (the onnx-community contract: ids, mask, positions and cache in; logits and
cache out). Greedy answers of ONNX Runtime are compared with those of `transformers`, alone
and as a padded batch.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import llm_data as data
from llm_model import LanguageModel

HERE = Path(__file__).resolve().parent
BUILD, OUT = HERE / "build", HERE / "llm"
MAX_TOKENS = 96

# Qwen's shape: roles in <|im_start|>, tools in the system message, calls as JSON in <tool_call>.
CHAT_TEMPLATE = """\
{%- if messages and messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] %}
{%- else %}
{%- set system = '' %}
{%- endif %}
{%- if system or tools %}
{{- '<|im_start|>system\\n' + system }}
{%- if tools %}
{%- if system %}{{- '\\n\\n' }}{%- endif %}
{{- '# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{%- if not loop.first %}{{- '<|im_start|>system\\n' + message['content'] + '<|im_end|>\\n' }}{%- endif %}
{%- elif message['role'] == 'assistant' and message['tool_calls'] %}
{{- '<|im_start|>assistant' }}
{%- if message['content'] %}{{- '\\n' + message['content'] }}{%- endif %}
{%- for call in message['tool_calls'] %}
{%- if call['function'] %}{%- set function = call['function'] %}{%- else %}{%- set function = call %}{%- endif %}
{{- '\\n<tool_call>\\n{"name": "' + function['name'] + '", "arguments": ' }}
{%- if function['arguments'] is string %}{{- function['arguments'] }}{%- else %}{{- function['arguments'] | tojson }}{%- endif %}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def write_json(path: Path, value: dict) -> None:
    """Indented JSON with a newline at the end."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_configs(config: dict, encoder: data.Encoder) -> None:
    """The JSON files beside the weights."""
    ids = {"bos_token_id": None, "eos_token_id": encoder.end, "pad_token_id": encoder.pad}
    write_json(OUT / "config.json", {**config, **ids})
    write_json(OUT / "generation_config.json", {
        "do_sample": False, "bos_token_id": None, "eos_token_id": [encoder.end, encoder.pad],
        "pad_token_id": encoder.pad, "max_new_tokens": MAX_TOKENS})
    added = {str(encoder.tokenizer.token_to_id(t)): {
        "content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special}
        for t, special in [(data.PAD, True), (data.START, True), (data.END, True), ("<tool_call>", False),
                           ("</tool_call>", False), ("<tools>", False), ("</tools>", False)]}
    write_json(OUT / "tokenizer_config.json", {
        "add_prefix_space": False, "added_tokens_decoder": added, "additional_special_tokens": [data.START, data.END],
        "bos_token": None, "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "eos_token": data.END, "errors": "replace", "model_max_length": config["max_position_embeddings"],
        "pad_token": data.PAD, "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": None})
    shutil.copy(BUILD / "tokenizer.json", OUT / "tokenizer.json")


def write_onnx(model: LanguageModel, path: Path) -> None:
    """Trace one decode step with a cache; batch, sequence and past stay dynamic."""
    c = model.config
    layers = range(c["num_hidden_layers"])
    past = [torch.randn(2, c["num_key_value_heads"], 3, c["head_dim"]) for _ in layers for _ in "kv"]
    example = (torch.ones(2, 4, dtype=torch.long), torch.ones(2, 7, dtype=torch.long),
               torch.arange(3, 7)[None].expand(2, 4).contiguous(), *past)
    pairs = [f"{i}.{kv}" for i in layers for kv in ("key", "value")]
    inputs = ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{p}" for p in pairs)]
    outputs = ["logits", *(f"present.{p}" for p in pairs)]
    step = {0: "batch_size", 1: "sequence_length"}
    axes = {"input_ids": step, "position_ids": step, "logits": step,
            "attention_mask": {0: "batch_size", 1: "total_sequence_length"},
            **{f"past_key_values.{p}": {0: "batch_size", 2: "past_sequence_length"} for p in pairs},
            **{f"present.{p}": {0: "batch_size", 2: "total_sequence_length"} for p in pairs}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, example, str(path), input_names=inputs, output_names=outputs, dynamic_axes=axes,
                          opset_version=17, dynamo=False, do_constant_folding=False)  # folding would store
        # the tied embedding twice; ONNX Runtime folds at load
    onnx.checker.check_model(str(path))


class OnnxModel:
    """The exported model as the server drives it: prefill, then one token at a time."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.past = [i for i in self.session.get_inputs() if i.name.startswith("past")]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def empty(self, batch: int) -> dict[str, np.ndarray]:
        """A cache of length 0."""
        return {i.name: np.zeros((batch, i.shape[1], 0, i.shape[3]), np.float32) for i in self.past}

    def step(self, ids, mask, positions, cache) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits of the last position [B, V] and the longer cache."""
        out = self.session.run(None, {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **cache})
        named = dict(zip(self.outputs, out, strict=True))
        return named["logits"][:, -1], {k.replace("present", "past_key_values"): v
                                        for k, v in named.items() if k.startswith("present")}

    def greedy(self, prompts: list[list[int]], end: int, pad: int, limit: int = MAX_TOKENS) -> list[list[int]]:
        """Greedy answers of a left-padded batch."""
        width = max(map(len, prompts))
        ids = np.array([[pad] * (width - len(p)) + p for p in prompts], np.int64)
        mask = np.array([[0] * (width - len(p)) + [1] * len(p) for p in prompts], np.int64)
        positions = np.maximum(mask.cumsum(1) - 1, 0)
        cache, answers, alive = self.empty(len(prompts)), [[] for _ in prompts], [True] * len(prompts)
        for _ in range(limit):
            logits, cache = self.step(ids, mask, positions, cache)
            chosen = logits.argmax(-1)
            for row, token in enumerate(chosen):
                alive[row] = alive[row] and token not in (end, pad)
                if alive[row]:
                    answers[row].append(int(token))
            if not any(alive):
                break
            ids = chosen[:, None].astype(np.int64)
            positions = positions[:, -1:] + 1
            mask = np.concatenate([mask, np.ones((len(prompts), 1), np.int64)], axis=1)
        return answers


def verify_template(hub_tokenizer, encoder: data.Encoder) -> None:
    """Declared tools, a call and its result must come out as the training talks had them."""
    tool = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How is the weather in Oslo?"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
            {"role": "tool", "content": '{"weather": "sunny"}'}]
    text = hub_tokenizer.apply_chat_template(chat, tools=[tool], add_generation_prompt=True, tokenize=False)
    ours = [data.message("system", data.system_text("Be brief.", [json.dumps(tool)])), data.message(**chat[1]),
            data.message("assistant", data.call_text(call)), data.message(**chat[3])]
    assert hub_tokenizer(text)["input_ids"] == encoder.prompt(ours), text


def verify(model: LanguageModel, encoder: data.Encoder, count: int) -> None:
    """Compare with `transformers`: same prompt ids from the chat template, same greedy tokens."""
    reference = LlamaForCausalLM(LlamaConfig.from_pretrained(OUT)).eval()
    missing = reference.load_state_dict(model.state_dict(), strict=False)
    assert missing.missing_keys == ["lm_head.weight"] and not missing.unexpected_keys, missing
    hub_tokenizer = AutoTokenizer.from_pretrained(OUT)
    verify_template(hub_tokenizer, encoder)
    exported, rng = OnnxModel(OUT / "onnx/model.onnx"), random.Random(11)
    prompts = []
    for _ in range(count):
        talk = data.training_messages(rng, 2, 8)
        talk = talk[: max(i for i, m in enumerate(talk) if m["role"] == "user") + 1]
        ids = encoder.prompt(talk)
        chat = [{k: m[k] for k in ("role", "content")} for m in talk]
        text = hub_tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert hub_tokenizer(text)["input_ids"] == ids, text
        prompts.append(ids)
    alone = [exported.greedy([p], encoder.end, encoder.pad, 40)[0] for p in prompts]
    for i, prompt in enumerate(prompts):
        with torch.no_grad():
            ids = reference.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False,
                                     eos_token_id=encoder.end, pad_token_id=encoder.pad)[0, len(prompt):].tolist()
        ids = [t for t in ids if t not in (encoder.end, encoder.pad)]
        assert ids == alone[i], (encoder.tokenizer.decode(ids), encoder.tokenizer.decode(alone[i]))
    for i in range(0, count - 1, 2):
        pair = exported.greedy(prompts[i : i + 2], encoder.end, encoder.pad, 40)
        assert pair == alone[i : i + 2], "a padded batch must answer as each alone"
    for text in ("héllo, wörld 你好 🎵\n", data.START, "a  b\t\tc"):
        assert encoder.tokenizer.decode(encoder.tokenizer.encode(text).ids, skip_special_tokens=False) == text
    print(f"{count} prompts: ONNX Runtime, transformers and the padded batch agree")


def main() -> None:
    """Export and verify."""
    parser = argparse.ArgumentParser(description="Export the starter language model to ONNX and verify it.")
    parser.add_argument("--checkpoint", type=Path, default=BUILD / "llm.pt")
    parser.add_argument("--verify", type=int, default=24, metavar="N", help="prompts to compare")
    args = parser.parse_args()
    if not args.checkpoint.exists():
        sys.exit(f"{args.checkpoint} does not exist: run llm_train.py first")
    torch.set_num_threads(1)
    state = torch.load(args.checkpoint, weights_only=True)
    model = LanguageModel(state["config"]).eval()
    model.load_state_dict(state["model"])
    encoder = data.Encoder(str(BUILD / "tokenizer.json"))
    OUT.mkdir(exist_ok=True)
    write_configs(state["config"], encoder)
    write_onnx(model, OUT / "onnx/model.onnx")
    verify(model, encoder, args.verify)
    print(f"{OUT / 'onnx/model.onnx'}: {(OUT / 'onnx/model.onnx').stat().st_size / 1e6:.1f} MB, step {state['step']}")


if __name__ == "__main__":
    main()
