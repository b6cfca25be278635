"""Models with random weights and the exact interfaces of Piper's and Kokoro's, and reference values for phoneme ids.

    python3 -m venv .cache/interface-venv
    .cache/interface-venv/bin/pip install -r models/starter/requirements.txt
    .cache/interface-venv/bin/pip install --no-deps -r models/interface/requirements.txt
    .cache/interface-venv/bin/pip install phonemizer-fork==3.3.2
    .cache/interface-venv/bin/python models/interface/make.py tiny         # src/backend/{piper,kokoro}/testdata
    .cache/interface-venv/bin/python models/interface/make.py full DIR     # the sizes of real voices, into DIR
    .cache/interface-venv/bin/python models/interface/make.py references   # src/backend/{piper,kokoro}/testdata

The networks are those of the packages `piper-tts` (piper.train.vits, VITS) and `kokoro` (KModel), made small for
`tiny`. What they say is noise: the weights are never trained. Nothing is downloaded.
"""

import json
import pathlib
import sys

import numpy

HERE = pathlib.Path(__file__).parent
BACKEND = HERE.parent.parent / "src" / "backend"
PIPER = BACKEND / "piper" / "testdata"
KOKORO = BACKEND / "kokoro" / "testdata"

# VITS as piper.train.vits.lightning and config set it up for the quality "medium" (22.05 kHz, 63 MB).
PIPER_MEDIUM = dict(
    inter=192, hidden=192, filter=768, heads=2, layers=6, resblock="2", resblock_kernels=(3, 5, 7),
    resblock_dilations=((1, 2), (2, 6), (3, 12)), rates=(8, 8, 4), channels=256, kernels=(16, 16, 8), gin=512,
)
PIPER_TINY = dict(
    PIPER_MEDIUM, inter=8, hidden=8, filter=16, layers=1, channels=16, gin=8,
    resblock_kernels=(3,), resblock_dilations=((1, 2),),
)

# Kokoro-82M, from the config.json that its authors publish with it.
KOKORO_FULL = dict(
    istftnet=dict(
        upsample_kernel_sizes=[20, 12], upsample_rates=[10, 6], gen_istft_hop_size=5, gen_istft_n_fft=20,
        resblock_dilation_sizes=[[1, 3, 5]] * 3, resblock_kernel_sizes=[3, 7, 11], upsample_initial_channel=512,
    ),
    dim_in=64, dropout=0.2, hidden_dim=512, max_conv_dim=512, max_dur=50, multispeaker=True, n_layer=3, n_mels=80,
    n_token=178, style_dim=128, text_encoder_kernel_size=5,
    plbert=dict(
        hidden_size=768, num_attention_heads=12, intermediate_size=2048, max_position_embeddings=512,
        num_hidden_layers=12, dropout=0.1,
    ),
)


def export(model, inputs, path, names, outputs, axes, opset):
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model, inputs, str(path), input_names=names, output_names=outputs, dynamic_axes=axes,
        opset_version=opset, do_constant_folding=True, dynamo=False,
    )
    import onnx

    # The traced code of each node names places of this machine.
    graph = onnx.load(str(path))
    for node in graph.graph.node:
        node.doc_string = ""
    onnx.save(graph, str(path))
    print(f"{path}: {path.stat().st_size} bytes")


def piper(size, speakers, path, durations):
    """A voice as piper.train.export_onnx writes it; `durations` adds the output of patch_voice_with_alignment."""
    import torch
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
    from piper.train.vits.models import SynthesizerTrn

    torch.manual_seed(20)
    symbols = 256
    model = SynthesizerTrn(
        symbols, 513, 32, size["inter"], size["hidden"], size["filter"], size["heads"], size["layers"], 3, 0.1,
        size["resblock"], size["resblock_kernels"], size["resblock_dilations"], size["rates"], size["channels"],
        size["kernels"], n_speakers=speakers, gin_channels=size["gin"] if speakers > 1 else 0,
    )
    model.eval()
    # The flows of an untrained duration predictor begin as the identity, and so does what depends on the speaker.
    with torch.no_grad():
        # Untrained, the predictor's flows are the identity: durations would be exp(noise). About 8 frames of
        # 11.6 ms a phoneme and its pad together is what speech has; noise_w moves it.
        for module in model.dp.flows:
            if type(module).__name__ == "ElementwiseAffine":
                module.m.data[0] = -1.4
                module.logs.data[0] = 1.2
        model.dec.remove_weight_norm()

    def infer(text, text_lengths, scales, sid=None):
        return model.infer(
            text, text_lengths, noise_scale=scales[0], length_scale=scales[1], noise_scale_w=scales[2], sid=sid,
        )[0].unsqueeze(1)

    model.forward = infer
    text = torch.randint(0, len(DEFAULT_PHONEME_ID_MAP), (1, 50), dtype=torch.long)
    inputs = (text, torch.LongTensor([50]), torch.FloatTensor([0.667, 1.0, 0.8]))
    inputs += (torch.LongTensor([0]),) if speakers > 1 else (None,)
    axes = {
        "input": {0: "batch_size", 1: "phonemes"}, "input_lengths": {0: "batch_size"},
        "output": {0: "batch_size", 2: "time"},
    }
    with torch.no_grad():
        export(model, inputs, path, ["input", "input_lengths", "scales", "sid"], ["output"], axes, 15)
    if durations:
        import onnx
        from piper.patch_voice_with_alignment import add_alignment_output

        graph = onnx.load(str(path))
        add_alignment_output(graph)
        onnx.save(graph, str(path))
    settings = {
        "audio": {"sample_rate": 22050, "quality": "medium"},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
        "num_symbols": symbols,
        "num_speakers": speakers,
        "speaker_id_map": {f"p{226 + at}": at for at in range(speakers)} if speakers > 1 else {},
        "hop_length": 256,
        "piper_version": "1.0.0",
    }
    write(path.with_name(path.name + ".json"), settings)


def kokoro(size, path):
    """A graph as kokoro's export writes it: input_ids, style, speed; waveform, duration."""
    import importlib.util
    import types

    import torch

    # The package's own __init__ wants the whole of its text processing; the network's modules do not.
    package = types.ModuleType("kokoro")
    package.__path__ = list(importlib.util.find_spec("kokoro").submodule_search_locations)
    sys.modules["kokoro"] = package
    from kokoro.model import KModel, KModelForONNX

    torch.manual_seed(20)
    empty = path.parent / "empty.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({}, empty)
    model = KModel(repo_id="none", config=dict(size, vocab=vocabulary()), model=str(empty), disable_complex=True)
    empty.unlink()
    if size["hidden_dim"] != 512:
        shrink(model.decoder, size["hidden_dim"], size["style_dim"])
    with torch.no_grad():
        # Untrained, each of the max_dur places of a duration is half full: 25 frames of 25 ms. Speech has about 3.
        model.predictor.duration_proj.linear_layer.bias.fill_(-3.0)
    model = KModelForONNX(model).eval()
    inputs = (torch.LongTensor([[0, *range(50, 98), 0]]), torch.randn(1, 256), torch.FloatTensor([1.0]))
    axes = {"input_ids": {1: "input_ids_len"}, "waveform": {0: "num_samples"}, "duration": {0: "input_ids_len"}}
    with torch.no_grad():
        export(model, inputs, path, ["input_ids", "style", "speed"], ["waveform", "duration"], axes, 17)


def shrink(decoder, width, style):
    """Kokoro's decoder has its widths written out in its code; the same blocks with smaller ones."""
    import torch
    from kokoro.istftnet import AdainResBlk1d

    decoder.encode = AdainResBlk1d(width + 2, width, style)
    inner = [AdainResBlk1d(width + 2 + 4, width, style) for _ in range(3)]
    decoder.decode = torch.nn.ModuleList([*inner, AdainResBlk1d(width + 2 + 4, width, style, upsample=True)])
    decoder.asr_res = torch.nn.Sequential(torch.nn.Conv1d(width, 4, kernel_size=1))


def kokoro_voices(folder, names):
    """Style tables, raw floats as on the hub (`voices/NAME.bin`): a row for each number of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = numpy.random.default_rng(20)
    for name in names:
        (dice.standard_normal((510, 1, 256)) * 0.1).astype(numpy.float32).tofile(folder / f"{name}.bin")


def vocabulary():
    return json.loads((BACKEND / "kokoro" / "vocabulary.json").read_text())


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
    print(path)


def tiny():
    piper(PIPER_TINY, 1, PIPER / "one.onnx", durations=True)
    piper(PIPER_TINY, 3, PIPER / "many.onnx", durations=False)
    plbert = dict(KOKORO_FULL["plbert"], hidden_size=8, num_attention_heads=2, intermediate_size=8, embedding_size=16, num_hidden_layers=1)
    size = dict(KOKORO_FULL, hidden_dim=8, n_layer=1, plbert=plbert)
    size["istftnet"] = dict(
        KOKORO_FULL["istftnet"], upsample_initial_channel=8, resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3, 5]],
    )
    kokoro(size, KOKORO / "model.onnx")


def full(folder):
    folder = pathlib.Path(folder)
    piper(PIPER_MEDIUM, 1, folder / "piper-medium.onnx", durations=True)
    kokoro(KOKORO_FULL, folder / "kokoro" / "model.onnx")
    kokoro_voices(folder / "kokoro" / "voices", ["af_heart", "am_onyx", "bf_emma", "ef_dora"])


def references():
    from references import kokoro_tokens, piper_ids

    for path, made in [(PIPER, piper_ids()), (KOKORO, kokoro_tokens(vocabulary()))]:
        said = ",\n".join(json.dumps(one, ensure_ascii=False) for one in made["said"])
        text = f'{{"made_by": {json.dumps(made["made_by"])}, "said": [\n{said}\n]}}\n'
        (path / "reference.json").write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    {"tiny": tiny, "full": full, "references": references}[sys.argv[1]](*sys.argv[2:])
