"""The peer of the benches of single operations: PyTorch (MKL, oneDNN) and numpy (OpenBLAS). Started by peer.ts.

Each line on standard input is a request: {"op": ..., shapes, "seconds": how long to measure}. The answer: seconds of a call, by the clock and of the
processor, by library.
"""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(1)


def timed(call, seconds):
    """Time of a call: as many as fit into `seconds`, at least two, after two that warm up."""
    call(0)
    begin = time.perf_counter()
    call(1)
    calls = max(2, math.ceil(seconds / (time.perf_counter() - begin)))
    begin, cpu_begin = time.perf_counter(), time.process_time()
    for index in range(calls):
        call(index)
    return {"seconds": (time.perf_counter() - begin) / calls, "cpuSeconds": (time.process_time() - cpu_begin) / calls}


def linear(op, rows, outputs, inputs, copies):
    x, dy = torch.randn(rows, inputs), torch.randn(rows, outputs)
    ws = [torch.randn(outputs, inputs) for _ in range(copies)]
    calls = {
        "forward": lambda i: F.linear(x, ws[i % copies]),
        "input": lambda i: dy @ ws[i % copies],
        "weight": lambda i: dy.t() @ x,
    }
    a, b, ms = x.numpy(), dy.numpy(), [w.numpy() for w in ws]
    blas = {
        "forward": lambda i: a @ ms[i % copies].T,
        "input": lambda i: b @ ms[i % copies],
        "weight": lambda i: b.T @ a,
    }
    return {"PyTorch": calls[op], "OpenBLAS": blas[op]}


def attention(op, shape):
    sequences, length, heads, size = shape
    # As a model has them: the heads of a token beside each other.
    q, k, v, dout = (torch.randn(sequences, length, heads, size).transpose(1, 2).requires_grad_() for _ in range(4))
    if op == "attention":
        with torch.no_grad():
            q, k, v = q.detach(), k.detach(), v.detach()
        return {"PyTorch": lambda i: F.scaled_dot_product_attention(q, k, v, is_causal=True)}
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return {"PyTorch": lambda i: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)}


def adamw(op, elements):
    parameter = torch.nn.Parameter(torch.randn(elements))
    parameter.grad = torch.randn(elements)
    optimizer = torch.optim.AdamW([parameter], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    return {"PyTorch": lambda i: optimizer.step()}


makers = {"forward": linear, "input": linear, "weight": linear, "attention": attention, "attention_backward": attention, "adamw": adamw}
made: dict[str, dict] = {}

versions = {"torch": torch.__version__, "numpy": np.__version__, "torch kernels": torch.backends.cpu.get_cpu_capability()}
print(json.dumps({"versions": versions}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    seconds = request.pop("seconds")
    key = json.dumps(request)
    if key not in made:
        made = {key: makers[request["op"]](**request)}
    answer = {name: timed(call, seconds) for name, call in made[key].items()}
    print(json.dumps(answer), flush=True)
