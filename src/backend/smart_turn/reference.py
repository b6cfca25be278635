"""Makes what `tests.rs` compares with: features by transformers 5.23, and tests.onnx, a graph of the model's contract.

use: reference.py tests.onnx   (needs transformers, numpy and onnx)
"""
import sys
import numpy as np
from transformers import WhisperFeatureExtractor
import onnx
from onnx import TensorProto, helper

def signal(seconds):
    n = np.arange(int(16000 * seconds), dtype=np.float64)
    tone = 0.4 * np.sin(n * 0.03) + 0.2 * np.sin(n * n * 1e-6) + 0.05 * np.sin(n * 1.1)
    return (tone * (0.5 + 0.5 * np.sin(n * 0.0007))).astype(np.float32)

fe = WhisperFeatureExtractor(feature_size=80, chunk_length=8)
for seconds in (1.5, 9.0):
    audio = signal(seconds)[-128000:]
    audio = np.pad(audio, (128000 - len(audio), 0))
    f = fe(audio, sampling_rate=16000, return_tensors="np", padding="max_length", max_length=128000, truncation=True, do_normalize=True).input_features[0]
    print(seconds, f.shape, "mean", float(f.mean()))
    for m, t in [(0,0),(0,799),(5,700),(20,750),(40,790),(60,795),(79,799),(79,650),(10,400)]:
        print(f"({m}, {t}, {f[m,t]:.5f}),")
# probability = sigmoid(-3 * mean of the last 20 frames + 1)
x = helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["batch", 80, 800])
y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
const = lambda name, values, kind, dims: helper.make_tensor(name, kind, dims, values)
init = [const("from", [780], TensorProto.INT64, [1]), const("to", [800], TensorProto.INT64, [1]), const("axis", [2], TensorProto.INT64, [1]),
        const("axes", [1, 2], TensorProto.INT64, [2]), const("one", [1], TensorProto.INT64, [1]), const("scale", [-3.0], TensorProto.FLOAT, [1]), const("shift", [1.0], TensorProto.FLOAT, [1])]
nodes = [helper.make_node("Slice", ["input_features", "from", "to", "axis"], ["tail"]),
         helper.make_node("ReduceMean", ["tail", "axes"], ["mean"], keepdims=0),
         helper.make_node("Mul", ["mean", "scale"], ["scaled"]), helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
         helper.make_node("Sigmoid", ["shifted"], ["p"]), helper.make_node("Unsqueeze", ["p", "one"], ["logits"])]
g = helper.make_graph(nodes, "turn", [x], [y], init)
m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(m)
onnx.save(m, sys.argv[1])
