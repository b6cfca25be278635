"""Write ONNX graphs of the real sizes of Silero VAD v5 and Smart Turn v3, with random weights.

They hear nothing sensible; they show that graphs of these sizes load and run, and what that costs.

    .cache/starter-venv/bin/python models/interface/listeners.py DIR      writes silero.onnx and smart-turn.onnx

Silero VAD v5, 16 kHz (0.3 M weights): 576 samples and 64 mirrored ones; a Fourier transform of 256 each 128 as a
convolution, magnitudes of 129 bins in 4 frames; convolutions 129-128-64-64-128 of width 3, the middle two with stride
2; one LSTM cell of 128; one number. Smart Turn v3 (8 M): the encoder of Whisper tiny over 800 frames, attention pooling
and two layers on top; 32-bit weights here, where its publisher's file has 8-bit ones.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

BINS, WIDTH, HOP, WINDOW = 129, 128, 128, 256
LAYERS = [(BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, WIDTH, 1)]  # in, out, stride


def fourier() -> np.ndarray:
    """A Hann-windowed Fourier transform as weights of a convolution: real parts, then imaginary ones."""
    time = np.arange(WINDOW)
    turn = 2 * np.pi * np.outer(np.arange(BINS), time) / WINDOW
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / WINDOW)
    return (np.concatenate([np.cos(turn), -np.sin(turn)])[:, None, :] * window).astype(np.float32)


def silero(path: Path) -> None:
    draw = np.random.default_rng(1)
    weights, nodes = {"fourier": fourier()}, []

    def node(kind: str, inputs: list[str], output: str | list[str], **attributes) -> None:
        outputs = [output] if isinstance(output, str) else output
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def number(name: str, values) -> str:
        weights[name] = np.array(values, dtype=np.int64)
        return name

    node("Unsqueeze", ["input", number("one", [1])], "line")
    node("Pad", ["line", number("mirror", [0, 0, 0, 0, 0, 64])], "padded", mode="reflect")
    node("Conv", ["padded", "fourier"], "spectrum", strides=[HOP])
    node("Split", ["spectrum", number("halves", [BINS, BINS])], ["real", "imaginary"], axis=1)
    node("Mul", ["real", "real"], "real2")
    node("Mul", ["imaginary", "imaginary"], "imaginary2")
    node("Add", ["real2", "imaginary2"], "power")
    node("Sqrt", ["power"], "heard0")
    for at, (inside, outside, stride) in enumerate(LAYERS):
        weights[f"conv{at}"] = draw.normal(0, inside**-0.5, (outside, inside, 3)).astype(np.float32)
        node("Conv", [f"heard{at}", f"conv{at}"], f"felt{at}", strides=[stride], pads=[1, 1])
        node("Relu", [f"felt{at}"], f"heard{at + 1}")
    for name, shape in [("W", (1, 4 * WIDTH, WIDTH)), ("R", (1, 4 * WIDTH, WIDTH)), ("B", (1, 8 * WIDTH))]:
        weights[name] = draw.normal(0, WIDTH**-0.5, shape).astype(np.float32)
    node("Transpose", [f"heard{len(LAYERS)}"], "steps", perm=[2, 0, 1])
    node("Split", ["state", number("parts", [1, 1])], ["h", "c"], axis=0)
    node("LSTM", ["steps", "W", "R", "B", "", "h", "c"], ["", "h1", "c1"], hidden_size=WIDTH)
    node("Concat", ["h1", "c1"], "stateN", axis=0)
    node("Squeeze", ["h1", number("zero", [0])], "cell")
    node("Relu", ["cell"], "active")
    weights["out"] = draw.normal(0, WIDTH**-0.5, (WIDTH, 1)).astype(np.float32)
    node("MatMul", ["active", "out"], "logit")
    node("Sigmoid", ["logit"], "output")
    info = helper.make_tensor_value_info
    inputs = [info("input", TensorProto.FLOAT, ["batch", 576]), info("state", TensorProto.FLOAT, [2, "batch", WIDTH]),
              info("sr", TensorProto.INT64, [])]
    outputs = [info("output", TensorProto.FLOAT, ["batch", 1]), info("stateN", TensorProto.FLOAT, [2, "batch", WIDTH])]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "silero", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class Turn(torch.nn.Module):
    """Whisper tiny's encoder over 8 s, attention pooling, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        config = WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536,
                               num_mel_bins=80, max_source_positions=400)
        self.encoder = WhisperEncoder(config)
        self.attend = torch.nn.Sequential(torch.nn.Linear(384, 256), torch.nn.Tanh(), torch.nn.Linear(256, 1))
        self.judge = torch.nn.Sequential(torch.nn.Linear(384, 256), torch.nn.LayerNorm(256), torch.nn.GELU(),
                                         torch.nn.Linear(256, 64), torch.nn.GELU(), torch.nn.Linear(64, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        states = self.encoder(features).last_hidden_state
        weights = torch.softmax(self.attend(states), dim=1)
        return torch.sigmoid(self.judge((states * weights).sum(dim=1)))


def smart_turn(path: Path) -> None:
    torch.manual_seed(1)
    torch.onnx.export(Turn().eval(), (torch.zeros(1, 80, 800),), path, dynamo=False, opset_version=18,
                      input_names=["input_features"], output_names=["logits"])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in [("silero.onnx", silero), ("smart-turn.onnx", smart_turn)]:
        write(folder / name)
        print(f"{folder / name}: {(folder / name).stat().st_size:,} bytes")
