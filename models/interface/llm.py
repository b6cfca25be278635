"""Language models with random weights, exported as the hub's ONNX exports are: for tests and for cost tables.

    python models/interface/llm.py fixtures              # tests/fixtures/llm: tiny models of each family
    python models/interface/llm.py real FOLDER [NAME..]  # real shapes: qwen2.5-0.5b smollm2-360m llama-3.2-1b
    python models/interface/llm.py templates FOLDER      # renders every *.jinja in it: FOLDER/rendered.json

Two exporters write what is found on the hub, and both are used: tracing with past and present as inputs and outputs
(what Optimum does; `position_ids`, `num_logits_to_keep`), and ONNX Runtime's own model builder (GroupQueryAttention,
no `position_ids`). The files lie and are named as onnx-community lays them out.

Needs models/starter/requirements.txt and models/interface/requirements-llm.txt. No weights are fetched: they are random.
"""

import datetime
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
torch.set_num_threads(1)
FIXTURES = HERE.parent.parent / "tests" / "fixtures" / "llm"
NEW_TOKENS = 24
MIN_GAP = 1e-3  # between the best and the second logit: far above what another CPU computes otherwise

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "It's the weather of a <city>.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": None}},
        "required": ["city"], "additionalProperties": False}}}


def call(name, arguments, number=1):
    return {"id": f"call{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


PLAIN = [{"role": "system", "content": "Be brief & kind."}, {"role": "user", "content": " How are you? \n"}]
TALK = [{"role": "user", "content": "Hi, I'm Zoë."}, {"role": "assistant", "content": "Hello Zoë 😀!"},
        {"role": "user", "content": "What is the weather in Oslo?"}]
TOOLS = [*PLAIN[:1], *TALK, {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Oslo"})]},
         {"role": "tool", "tool_call_id": "call1", "name": "get_weather", "content": '{"sky": "clear"}'}]
CASES = [("plain", PLAIN, None), ("talk", TALK, None), ("ask", TALK, [WEATHER]), ("tools", TOOLS, [WEATHER])]
SENTENCES = ["Hello, how are you today?", "The weather in Oslo is clear, isn't it?", "I am fine, thank you!",
             "What is the name of the city?", '{"name": "get_weather", "arguments": {"city": "Oslo"}}'] * 4

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
FAMILIES = {
    "llama3": dict(kind="Llama", special=["<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>",
                                          "<|end_header_id|>", "<|python_tag|>", "<|end_of_text|>"],
                   bos="<|begin_of_text|>", eos="<|eot_id|>", exporter="builder", head_dim=16,
                   variants=["fp16", "q4"]),
    "qwen2": dict(kind="Qwen2", special=CHATML, marks=MARKS[:2], eos="<|im_end|>", exporter="tracer", variants=["quantized", "q4f16"]),
    "qwen3": dict(kind="Qwen3", special=CHATML, marks=MARKS, eos="<|im_end|>", exporter="builder", head_dim=16,
                  variants=["q4"]),  # a graph for WebGPU normalises in the attention, which no CPU kernel does
    "smollm3": dict(kind="SmolLM3", special=CHATML, marks=MARKS, eos="<|im_end|>", exporter="tracer",
                    more=dict(no_rope_layers=[1, 0])),
    "gemma3": dict(kind="Gemma3", special=["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
                   bos="<bos>", eos="<end_of_turn>", exporter="tracer", head_dim=16,
                   more=dict(sliding_window=16, layer_types=["sliding_attention", "full_attention"],
                             query_pre_attn_scalar=16)),
}


def byte_level(special, marks):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet,
                                  show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens(marks)  # no special tokens, so that they are part of the text
    return tokenizer


def sentence_piece(special):
    """As Gemma's: a space is `▁`, and what has no token is written in bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=120, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    words = special + [f"<0x{byte:02X}>" for byte in range(256)] + sorted(trained["vocab"], key=trained["vocab"].get)
    vocabulary = {word: at for at, word in enumerate(dict.fromkeys(words))}
    merges = [tuple(merge) for merge in trained["merges"]]
    tokenizer.model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    return tokenizer


def tokenizer_of(name, family):
    raw = sentence_piece(family["special"]) if name == "gemma3" else byte_level(family["special"],
                                                                                 family.get("marks", []))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=family.get("bos"), eos_token=family["eos"],
                                        clean_up_tokenization_spaces=False)
    tokenizer.chat_template = (HERE / "templates" / f"{name}.jinja").read_text()
    return tokenizer


def classes(kind):
    config = {"Gemma3": "Gemma3TextConfig"}.get(kind, f"{kind}Config")
    return getattr(transformers, config), getattr(transformers, f"{kind}ForCausalLM")


def tiny(family, tokenizer, seed):
    make_config, make_model = classes(family["kind"])
    more = dict(family.get("more", {}))
    if "head_dim" in family:
        more["head_dim"] = family["head_dim"]
    eos = tokenizer.convert_tokens_to_ids(family["eos"])
    bos = tokenizer.convert_tokens_to_ids(family["bos"]) if "bos" in family else None
    config = make_config(vocab_size=(len(tokenizer) + 31) // 32 * 32, hidden_size=32, intermediate_size=64,
                         num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=1024, tie_word_embeddings=False, initializer_range=0.3,
                         bos_token_id=bos, eos_token_id=eos, pad_token_id=0, **more)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = make_model(config).eval()
    with torch.no_grad():  # no calls and no thoughts by chance: their text is not the answer's
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(family.get("marks", []))] = 0
    model.generation_config = transformers.GenerationConfig(bos_token_id=bos, eos_token_id=eos, pad_token_id=0)
    return model


def render(tokenizer, messages, tools):
    more = {"xml_tools": tools} if tools and "xml_tools" in tokenizer.chat_template else {}
    return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True,
                                         enable_thinking=False, **more)


def without_date(text):
    today = datetime.date.today()
    for form in ("%d %b %Y", "%d %B %Y"):
        text = text.replace("Today Date: " + today.strftime(form), "Today Date: TODAY")
    return text


def greedy(model, tokens, ends):
    """The likeliest tokens, and the least gap that any was chosen by."""
    got, gap, ids = [], 9.0, list(tokens)
    while len(got) < NEW_TOKENS:
        with torch.no_grad():
            best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        if gap < MIN_GAP:
            break
        got.append(int(best.indices[0]))
        ids.append(got[-1])
        if got[-1] in ends:
            break
    return got, gap


def run_onnx(path, tokens, ends):
    """The likeliest tokens by a plain loop around ONNX Runtime: the prompt in one step, then a token each."""
    session = onnxruntime.InferenceSession(str(path))
    inputs = {value.name: value for value in session.get_inputs()}
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    past = {name: np.zeros([1, value.shape[1], 0, HEAD_DIM[0]], kinds[value.type])
            for name, value in inputs.items() if name.startswith("past_key_values.")}
    got, seen, chunk = [], 0, list(tokens)
    while len(got) < NEW_TOKENS:
        total = seen + len(chunk)
        feeds = {"input_ids": np.array([chunk]), "attention_mask": np.ones((1, total), np.int64), **past}
        if "position_ids" in inputs:
            feeds["position_ids"] = np.arange(seen, total)[None]
        if "num_logits_to_keep" in inputs:
            feeds["num_logits_to_keep"] = np.array(1, np.int64)
        outputs = dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds)))
        past = {name: outputs[name.replace("past_key_values", "present")] for name in past}
        seen, chunk = total, [int(outputs["logits"][0, -1].argmax())]
        got += chunk
        if got[-1] in ends:
            break
    return got


HEAD_DIM = [0]


class Traced(torch.nn.Module):
    """A model as a graph: past in, present out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, num_logits_to_keep, *past):
        cache = transformers.DynamicCache()
        for at in range(0, len(past), 2):
            cache.update(past[at], past[at + 1], at // 2)
        out = self.model.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
                               past_key_values=cache, use_cache=True)
        logits = self.model.lm_head(out.last_hidden_state[:, -num_logits_to_keep:, :])
        return (logits, *[part for layer in out.past_key_values.layers for part in (layer.keys, layer.values)])


def trace(model, path):
    config = model.config
    layers, heads = config.num_hidden_layers, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    parts = [f"{at}.{part}" for at in range(layers) for part in ("key", "value")]
    names = ["input_ids", "attention_mask", "position_ids", "num_logits_to_keep"]
    axes = {"input_ids": {0: "batch_size", 1: "sequence_length"}, "attention_mask": {0: "batch_size", 1: "total"},
            "position_ids": {0: "batch_size", 1: "sequence_length"}}
    axes |= {f"past_key_values.{part}": {0: "batch_size", 2: "past_sequence_length"} for part in parts}
    axes |= {f"present.{part}": {0: "batch_size", 2: "total_sequence_length"} for part in parts}
    example = (torch.ones(1, 5, dtype=torch.long), torch.ones(1, 8, dtype=torch.long), torch.arange(3, 8)[None],
               torch.tensor(2), *[torch.randn(1, heads, 3, size) for _ in parts])
    with torch.no_grad():
        torch.onnx.export(Traced(model), example, str(path), opset_version=18, dynamo=False, dynamic_axes=axes,
                          input_names=names + [f"past_key_values.{part}" for part in parts],
                          output_names=["logits"] + [f"present.{part}" for part in parts])


def build(folder, path, precision, provider="cpu"):
    """ONNX Runtime's model builder. `webgpu` is its way to a cache in half precision; the graph runs on any device."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(folder), "-o", out,
                   "-p", precision, "-e", provider, "-c", out]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        save(onnx.load(pathlib.Path(out) / "model.onnx"), path)


def save(model, path):
    """The hub's exports keep large weights beside the graph, in `<name>_data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.name + "_data"
    (path.parent / data).unlink(missing_ok=True)
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 100 << 20
    onnx.save(model, path, save_as_external_data=large, location=data, size_threshold=1024)


def to_half(source, path):
    from onnxruntime.transformers.float16 import convert_float_to_float16
    save(convert_float_to_float16(onnx.load(source), op_block_list=[]), path)


def to_int8(source, path):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "model.onnx"
        quantize_dynamic(source, out, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"],
                         use_external_data_format=True)
        save(onnx.load(out), path)


def to_int4(source, path):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    save(quantizer.model.model, path)


def export(model, family, weights, out):
    """The graph in 32 bits, and the variants that the family's fixture has."""
    plain = out / "model.onnx"
    traced = family["exporter"] == "tracer"
    out.mkdir(parents=True, exist_ok=True)
    trace(model, plain) if traced else build(weights, plain, "fp32")
    for variant in family.get("variants", []):
        path = out / f"model_{variant}.onnx"
        if variant == "quantized":
            to_int8(plain, path)
        elif traced:
            with tempfile.TemporaryDirectory() as folder:
                source = plain if variant == "fp16" else pathlib.Path(folder) / "q4.onnx"
                if variant != "fp16":
                    to_int4(plain, source)
                to_half(source, path) if "f16" in variant or variant == "fp16" else shutil.copy(source, path)
        else:
            precision = "fp16" if variant == "fp16" else "int4"
            build(weights, path, precision, "cpu" if variant == "q4" else "webgpu")


def reference(model, tokenizer, ends):
    cases, least = [], 9.0
    for name, messages, tools in CASES:
        if tools and "tools" not in tokenizer.chat_template:
            continue
        prompt = render(tokenizer, messages, tools)
        tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        got, gap = greedy(model, tokens, ends)
        least = min(least, gap)
        if least < MIN_GAP:
            break
        text = tokenizer.decode([token for token in got if token not in ends], skip_special_tokens=True)
        cases.append({"name": name, "messages": messages, "tools": tools, "prompt": without_date(prompt),
                      "tokens": tokens, "greedy": got, "text": text})
    return cases, least


def fixture(name, family):
    tokenizer = tokenizer_of(name, family)
    ends = {tokenizer.convert_tokens_to_ids(family["eos"])}
    for seed in range(100):
        model = tiny(family, tokenizer, seed)
        HEAD_DIM[0] = getattr(model.config, "head_dim", None) or 32 // 4
        cases, gap = reference(model, tokenizer, ends)
        if gap > MIN_GAP:
            break
    # A second end of an answer that is no special token: the tenth token of one of them.
    second = cases[-1]["greedy"][min(9, len(cases[-1]["greedy"]) - 1)]
    ends.add(second)
    model.generation_config.eos_token_id = sorted(ends)
    cases, gap = reference(model, tokenizer, ends)
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as weights:
        model.save_pretrained(weights)
        tokenizer.save_pretrained(weights)
        export(model, family, weights, folder / "onnx")
        for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                     "chat_template.jinja"):
            shutil.copy(pathlib.Path(weights) / file, folder / file)
    for case in cases:
        tokens = tokenizer(render(tokenizer, case["messages"], case["tools"]), add_special_tokens=False)["input_ids"]
        assert run_onnx(folder / "onnx" / "model.onnx", tokens, ends) == case["greedy"], (name, case["name"])
    for variant in family.get("variants", []):
        got = run_onnx(folder / "onnx" / f"model_{variant}.onnx", tokens, ends)
        print(f"{name}: {variant} gives {sum(a == b for a, b in zip(got, case['greedy']))} of {len(got)} tokens alike")
    (folder / "reference.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{name}: seed {seed}, least gap {gap:.4f}, {size >> 10} KiB", flush=True)


REAL = {
    "qwen2.5-0.5b": ("Qwen2", dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                                   num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768,
                                   tie_word_embeddings=True)),
    "qwen2.5-1.5b": ("Qwen2", dict(vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28,
                                   num_attention_heads=12, num_key_value_heads=2, max_position_embeddings=32768,
                                   tie_word_embeddings=True)),
    "smollm2-360m": ("Llama", dict(vocab_size=49152, hidden_size=960, intermediate_size=2560, num_hidden_layers=32,
                                   num_attention_heads=15, num_key_value_heads=5, max_position_embeddings=8192,
                                   tie_word_embeddings=True)),
    "llama-3.2-1b": ("Llama", dict(vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                                   num_attention_heads=32, num_key_value_heads=8, head_dim=64,
                                   max_position_embeddings=131072, tie_word_embeddings=True)),
}


def real(folder, name):
    """A model of the real shape with random weights, in int4; its tokenizer is a tiny one, so text is
    garbage, and it hardly ever ends by itself."""
    kind, shape = REAL[name]
    make_config, make_model = classes(kind)
    torch.manual_seed(0)
    model = make_model(make_config(**shape, eos_token_id=2, bos_token_id=1)).eval()
    family = FAMILIES["qwen2"]
    tokenizer = tokenizer_of("qwen2", family)
    out = pathlib.Path(folder) / name
    with tempfile.TemporaryDirectory() as weights:
        model.save_pretrained(weights)
        tokenizer.save_pretrained(weights)
        del model
        out.mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(pathlib.Path(weights) / file, out / file)
        build(weights, out / "onnx" / "model_q4.onnx", "int4")
    print(name, {file.name: file.stat().st_size >> 20 for file in (out / "onnx").iterdir()}, "MiB", flush=True)


def templates(folder):
    """What transformers makes of the conversations of the fixtures by templates of one's own."""
    rendered = []
    for file in sorted(pathlib.Path(folder).glob("*.jinja")):
        tokenizer = tokenizer_of("qwen2", FAMILIES["qwen2"])
        tokenizer.bos_token = "<s>"
        tokenizer.chat_template = file.read_text()
        for name, messages, tools in CASES:
            try:
                text = without_date(render(tokenizer, messages, tools))
            except Exception as error:  # the template refuses it
                print(f"{file.name} {name}: {type(error).__name__} {error}")
                text = None
            rendered.append({"template": file.read_text(), "file": file.name, "name": name, "messages": messages,
                             "tools": tools, "prompt": text})
    (pathlib.Path(folder) / "rendered.json").write_text(json.dumps(rendered))
    print(len(rendered), "prompts")


def main(command="", *arguments):
    if command == "fixtures":
        for name in arguments or FAMILIES:
            fixture(name, FAMILIES[name])
    elif command == "real" and arguments:
        for name in arguments[1:] or REAL:
            real(arguments[0], name)
    elif command == "templates" and arguments:
        templates(arguments[0])
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
