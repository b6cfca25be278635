"""Moonshine with random weights, exported as the hub's ONNX exports are: for tests and for cost tables.

    python models/interface/moonshine.py fixture           # tests/fixtures/moonshine: a very small one, with reference
    python models/interface/moonshine.py real FOLDER NAME  # the real shapes: tiny, base

The layout is that of onnx-community/moonshine-{tiny,base}-ONNX and of UsefulSensors/moonshine (`onnx/merged`): an
encoder from `input_values` to `last_hidden_state`, and a decoder of which both branches are in one graph, chosen by
`use_cache_branch`. The branch with a cache gives nothing for the encoder's keys and values: those of the first step
stay good. With `--masks` the graphs take attention masks too, as optimum-onnx exports them by now.

The model, its greedy tokens and its text are those of transformers' own classes. Needs models/starter/requirements.txt.
No weights are fetched: they are random.
"""

import json
import pathlib
import shutil
import sys
import tempfile
from unittest import mock

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import MoonshineConfig, MoonshineForConditionalGeneration
from transformers.models.moonshine import modeling_moonshine
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

HERE = pathlib.Path(__file__).resolve().parent
FIXTURE = HERE.parent.parent / "tests" / "fixtures" / "moonshine"
RATE = 16_000
TOKENS_A_SECOND, SPARE = 6.5, 4  # the limit of the makers' own code, and what the server gives short words
MIN_GAP = 1e-3  # between the best and the second logit: far above what another CPU computes otherwise
CASES = [("one", 1.0), ("two", 2.0), ("short", 0.3), ("shortest", 0.1), ("long", 3.3)]
SHAPES = {
    "probe": dict(vocab_size=320, hidden_size=16, intermediate_size=32, layers=2, heads=2, positions=26, rotary=0.9),
    "tiny": dict(vocab_size=32_768, hidden_size=288, intermediate_size=1152, layers=6, heads=8, positions=194,
                 rotary=0.9),
    "base": dict(vocab_size=32_768, hidden_size=416, intermediate_size=1664, layers=8, heads=8, positions=194,
                 rotary=0.62, pad_head_dim_to_multiple_of=8),
}
torch.set_num_threads(1)


def make(shape, seed, spread):
    sizes = dict(SHAPES[shape])
    layers, heads, rotary = sizes.pop("layers"), sizes.pop("heads"), sizes.pop("rotary")
    config = MoonshineConfig(
        **{key: value for key, value in sizes.items() if key != "positions"}, initializer_range=spread,
        encoder_num_hidden_layers=layers, decoder_num_hidden_layers=layers, encoder_num_attention_heads=heads,
        decoder_num_attention_heads=heads, max_position_embeddings=sizes["positions"],
        rope_parameters=dict(rope_type="default", rope_theta=10_000.0, partial_rotary_factor=rotary),
        decoder_start_token_id=1, bos_token_id=1, eos_token_id=2, pad_token_id=2)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    return MoonshineForConditionalGeneration(config).eval()


def tokenizer_of(size):
    """As Moonshine's (Llama's): a space is `▁`, and what has no token is written in bytes. Words of two letters."""
    words = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    letters = "etaoinshrdlucmfywgpbvk"
    words += [start + letter for letter in letters for start in ("▁", "")] + ["▁é", "日", ".", ",", "▁the", "ing"]
    words += [f"▁{a}{b}" for a in letters for b in letters][:size - len(words)]
    words += [f"▁{at}" for at in range(len(words), size)]
    tokenizer = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, [], unk_token="<unk>",
                                     byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(words[:3])
    return tokenizer


def sound(seconds):
    """A sound that changes; the tests make the same."""
    n = np.arange(int(RATE * seconds), dtype=np.float64)
    return (np.sin(n * (0.02 + (n // 3000 % 7) * 0.03)) * 0.3).astype(np.float32)


def limit(samples):
    return SPARE + int(samples * TOKENS_A_SECOND / RATE)


def greedy(model, samples, most):
    """What transformers writes, and the least gap that any token was chosen by. Without the start token."""
    out = model.generate(torch.from_numpy(samples)[None], max_new_tokens=most, do_sample=False, num_beams=1,
                         return_dict_in_generate=True, output_logits=True)
    best = [step[0].topk(2).values for step in out.logits]
    return out.sequences[0, 1:].tolist(), min(float(two[0] - two[1]) for two in best)


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.encoder = model.model.encoder

    def forward(self, input_values, attention_mask=None):
        return self.encoder(input_values, attention_mask=attention_mask).last_hidden_state


def interleaved(even, odd):
    return torch.stack((even, odd), dim=-1).reshape(*even.shape[:-1], 2 * even.shape[-1])


def rotated(q, k, cos, sin, unsqueeze_dim=1):
    """`apply_rotary_pos_emb` in words that the exporter knows the shapes of; `run_onnx` checks what comes of it."""
    def half(values):
        values = values.unsqueeze(unsqueeze_dim)[..., :values.shape[-1] // 2]
        return interleaved(values, values)

    def turn(values):
        turned, rest = values[..., :cos.shape[-1]], values[..., cos.shape[-1]:]
        return torch.cat([turned * cos + interleaved(-turned[..., 1::2], turned[..., 0::2]) * sin, rest], dim=-1)

    cos, sin = half(cos), half(sin)
    return turn(q), turn(k)


class First(DynamicLayer):
    """A layer of a cache that begins with what it is first given: tracing cannot append to nothing."""

    def update(self, key_states, value_states, *args, **kwargs):
        if self.is_initialized:
            return super().update(key_states, value_states, *args, **kwargs)
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states, value_states
        return self.keys, self.values


def cache_of(layers):
    cache = DynamicCache()
    cache.layers = [First() for _ in range(layers)]
    return cache


class Decoder(torch.nn.Module):
    """A step. Without a cache it gives the keys and values of all; with one, those of the decoder."""

    def __init__(self, model, has_past, has_mask):
        super().__init__()
        self.model, self.has_past, self.has_mask = model, has_past, has_mask

    def forward(self, input_ids, encoder_hidden_states, *rest):
        mask, past = (rest[0], rest[1:]) if self.has_mask else (None, rest)
        layers = self.model.config.decoder_num_hidden_layers
        cache = EncoderDecoderCache(cache_of(layers), cache_of(layers))
        for layer in range(len(past) // 4):
            own, other = past[4 * layer:4 * layer + 2], past[4 * layer + 2:4 * layer + 4]
            cache.self_attention_cache.update(*own, layer)
            cache.cross_attention_cache.update(*other, layer)
            cache.is_updated[layer] = True
        out = self.model.model.decoder(input_ids=input_ids, encoder_hidden_states=encoder_hidden_states,
                                       encoder_attention_mask=mask, past_key_values=cache, use_cache=True)
        logits = self.model.proj_out(out.last_hidden_state)
        presents = []
        for own, other in zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers):
            presents += [own.keys, own.values] + ([] if self.has_past else [other.keys, other.values])
        return (logits, *presents)


def positions(samples):
    """Of the encoder, in words that stay a formula when they are traced."""
    return (((samples - 127) // 64 + 1 - 7) // 3 + 1 - 3) // 2 + 1


def trace(module, inputs, names, outputs, axes, path):
    lengths = "_get_feat_extract_output_lengths"
    with torch.no_grad(), mock.patch.object(modeling_moonshine, "apply_rotary_pos_emb", rotated), mock.patch.object(
            modeling_moonshine.MoonshinePreTrainedModel, lengths, lambda self, samples: positions(samples)):
        torch.onnx.export(module, inputs, str(path), opset_version=17, dynamo=False, input_names=names,
                          output_names=outputs, dynamic_axes=axes)


def parts(layers, whose=("decoder", "encoder")):
    return [f"{layer}.{who}.{what}" for layer in range(layers) for who in whose for what in ("key", "value")]


def trace_decoder(model, has_past, has_mask, path):
    config = model.config
    layers, heads = config.decoder_num_hidden_layers, config.decoder_num_attention_heads
    size = config.hidden_size // heads
    names, inputs = ["input_ids", "encoder_hidden_states"], [torch.ones(1, 1, dtype=torch.long),
                                                             torch.randn(1, 40, config.hidden_size)]
    axes = {"input_ids": {0: "batch_size", 1: "decoder_sequence_length"},
            "encoder_hidden_states": {0: "batch_size", 1: "encoder_sequence_length"}, "logits": {0: "batch_size"}}
    if has_mask:
        names, inputs = [*names, "encoder_attention_mask"], [*inputs, torch.ones(1, 40, dtype=torch.long)]
        axes["encoder_attention_mask"] = {0: "batch_size", 1: "encoder_sequence_length"}
    outputs = parts(layers, ("decoder",) if has_past else ("decoder", "encoder"))
    axes |= {f"present.{part}": {0: "batch_size", 2: f"{part.split('.')[1]}_length"} for part in outputs}
    if has_past:
        for part in parts(layers):
            names.append(f"past_key_values.{part}")
            inputs.append(torch.randn(1, heads, 3 if "decoder" in part else 40, size))
            axes[names[-1]] = {0: "batch_size", 2: f"past_{part.split('.')[1]}_length"}
    trace(Decoder(model, has_past, has_mask), tuple(inputs), names, ["logits"] + [f"present.{part}" for part in outputs],
          axes, path)
    return onnx.load(path)


def merged(plain, cached, config):
    """Both branches in one graph, which holds every weight once."""
    weights, branches = {}, []
    for prefix, model in (("plain", plain), ("cached", cached)):
        renamed, outer = {}, {value.name for value in model.graph.input}
        for tensor in model.graph.initializer:
            key = (tuple(tensor.dims), tensor.data_type, onnx.numpy_helper.to_array(tensor).tobytes())
            if key not in weights:
                weights[key] = onnx.TensorProto()
                weights[key].CopyFrom(tensor)
                weights[key].name = f"weight_{len(weights)}"
            renamed[tensor.name] = weights[key].name

        def name(old):
            return old if not old or old in outer else renamed.setdefault(old, f"{prefix}.{len(renamed)}")

        for node in model.graph.node:
            node.name = ""
            node.input[:], node.output[:] = [name(n) for n in node.input], [name(n) for n in node.output]
        branches.append((prefix, model, renamed))
    heads, size = config.decoder_num_attention_heads, config.hidden_size // config.decoder_num_attention_heads
    presents = ["logits"] + [f"present.{part}" for part in parts(config.decoder_num_hidden_layers)]
    graphs = {}
    for prefix, model, renamed in branches:
        given = {value.name for value in model.graph.output}
        nodes, outputs = list(model.graph.node), []
        for out in presents:
            new = renamed.setdefault(out, f"{prefix}.{out}")
            if out not in given:  # as optimum does it: a dummy of no batch
                empty = helper.make_tensor(f"{prefix}.{out}.empty", TensorProto.FLOAT, [0, heads, 1, size], [])
                nodes.append(helper.make_node("Constant", [], [new], value=empty))
            outputs.append(helper.make_tensor_value_info(new, TensorProto.FLOAT, None))
        graphs[prefix] = helper.make_graph(nodes, prefix, [], outputs)
    branch = helper.make_node("If", ["use_cache_branch"], presents, name="branch", then_branch=graphs["cached"],
                              else_branch=graphs["plain"])
    vocabulary = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "length", config.vocab_size])
    caches = [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch_size", heads, f"{out}.length", size])
              for out in presents[1:]]
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    inputs = {value.name: value for value in [*plain.graph.input, *cached.graph.input, flag]}
    graph = helper.make_graph([branch], "merged", list(inputs.values()), [vocabulary, *caches],
                              initializer=list(weights.values()))
    model = helper.make_model(graph, opset_imports=cached.opset_import, ir_version=cached.ir_version)
    onnx.checker.check_model(model)
    return model


def export(model, folder, has_masks):
    graphs = folder / "onnx"
    graphs.mkdir(parents=True, exist_ok=True)
    inputs, names = [torch.randn(1, RATE)], ["input_values"]
    axes = {"input_values": {0: "batch_size", 1: "num_samples"},
            "last_hidden_state": {0: "batch_size", 1: "encoder_sequence_length"}}
    if has_masks:
        inputs, names = [*inputs, torch.ones(1, RATE, dtype=torch.long)], [*names, "attention_mask"]
        axes["attention_mask"] = axes["input_values"]
    trace(Encoder(model), tuple(inputs), names, ["last_hidden_state"], axes, graphs / "encoder_model.onnx")
    with tempfile.TemporaryDirectory() as scratch:
        plain = trace_decoder(model, False, has_masks, pathlib.Path(scratch) / "plain.onnx")
        cached = trace_decoder(model, True, has_masks, pathlib.Path(scratch) / "cached.onnx")
    onnx.save(merged(plain, cached, model.config), graphs / "decoder_model_merged.onnx")
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=1, decoder_start_token_id=1, eos_token_id=2, pad_token_id=2,
        max_length=model.config.max_position_embeddings)
    model.generation_config.save_pretrained(folder)
    model.config.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"do_normalize": False, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
         "padding_value": 0.0, "return_attention_mask": True, "sampling_rate": RATE}, indent=2))
    tokenizer_of(model.config.vocab_size).save(str(folder / "tokenizer.json"), pretty=False)


def quantize(folder):
    """Eight bits a weight, as the hub's `_quantized` files: transformers.js takes unsigned ones where there is a Conv."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    for name in ("encoder_model", "decoder_model_merged"):
        quantize_dynamic(folder / "onnx" / f"{name}.onnx", folder / "onnx" / f"{name}_quantized.onnx",
                         weight_type=QuantType.QUInt8, extra_options=dict(EnableSubgraph=True))


def run_onnx(folder, samples, most):
    """The likeliest tokens by a plain loop around ONNX Runtime."""
    import onnxruntime
    encoder = onnxruntime.InferenceSession(str(folder / "onnx" / "encoder_model.onnx"))
    decoder = onnxruntime.InferenceSession(str(folder / "onnx" / "decoder_model_merged.onnx"))
    has_masks = any(value.name == "attention_mask" for value in encoder.get_inputs())
    feeds = {"input_values": samples[None]}
    hidden = encoder.run(None, feeds | ({"attention_mask": np.ones((1, len(samples)), np.int64)} if has_masks else {}))[0]
    past = {value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
            for value in decoder.get_inputs() if value.name.startswith("past_key_values.")}
    got, token = [], 1
    while len(got) < most:
        more = {"encoder_attention_mask": np.ones((1, hidden.shape[1]), np.int64)} if has_masks else {}
        out = decoder.run(None, {"input_ids": np.array([[token]]), "encoder_hidden_states": hidden, **more,
                                 "use_cache_branch": np.array([bool(got)]), **past})
        for name, value in zip(past, out[1:]):
            if not got or ".decoder." in name:
                past[name] = value
        token = int(out[0][0, -1].argmax())
        got.append(token)
        if token == 2:
            break
    return got


def fixture():
    tokenizer = tokenizer_of(SHAPES["probe"]["vocab_size"])
    for seed in range(2_000):
        model = make("probe", seed, 0.5)
        with torch.no_grad():  # no bytes by chance, which make no signs, and an end now and then
            model.proj_out.weight = torch.nn.Parameter(model.proj_out.weight.clone())
            model.proj_out.weight[:2] = 0
            model.proj_out.weight[3:3 + 256] = 0
            model.proj_out.weight[2] = torch.randn(model.config.hidden_size) * 0.7  # zero, as that of the padding
        cases, gap = [], 9.0
        for name, seconds in CASES:
            samples = sound(seconds)
            tokens, least = greedy(model, samples, limit(len(samples)))
            gap = min(gap, least)
            text = tokenizer.decode([token for token in tokens if token > 2]).strip()
            cases.append({"name": name, "samples": len(samples), "greedy": tokens, "text": text})
        # Texts that differ, of which some end by themselves and some at the limit, and none runs in circles.
        ended = [case["name"] for case in cases if case["greedy"][-1] == 2]
        words = [set(case["greedy"]) for case in cases]
        if gap > MIN_GAP and 1 < len(ended) < len(cases) - 1 and all(len(set(word)) > 3 for word in words) and len(
                {case["text"] for case in cases}) == len(cases):
            break
    else:
        sys.exit("no seed will do")
    shutil.rmtree(FIXTURE, ignore_errors=True)
    export(model, FIXTURE, False)
    for case in cases:
        assert run_onnx(FIXTURE, sound(case["samples"] / RATE), limit(case["samples"])) == case["greedy"], case
    (FIXTURE / "reference.json").write_text(json.dumps({"made_by": "models/interface/moonshine.py", "seed": seed,
                                                        "least_gap": gap, "cases": cases}, indent=1))
    total = sum(file.stat().st_size for file in FIXTURE.rglob("*") if file.is_file())
    print(f"seed {seed}, least gap {gap:.4f}, ended {ended}, {total} bytes")
    for case in cases:
        print(case)


def main():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if arguments == ["fixture"]:
        fixture()
    elif len(arguments) == 3 and arguments[0] == "real" and arguments[2] in SHAPES:
        folder = pathlib.Path(arguments[1])
        export(make(arguments[2], 0, 0.05), folder, "--masks" in sys.argv)
        quantize(folder)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
