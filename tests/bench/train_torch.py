"""The peer of the training bench: the same GPT in plain PyTorch, eager, fp32 or, with "precision": "bf16" in setting.json, in autocast to bf16. Started by torch-peer.ts, told what to do line by line.

    python train_torch.py FOLDER

FOLDER holds setting.json, tokens.bin (i32, sequences x (length + 1)) and model.safetensors with the weights to start from.
Each line on standard input is a command, each line on standard output its answer in JSON.
With TORCH_COMPILE set, the model goes through torch.compile. With WORLD_SIZE and RANK set, that many processes train together: DDP over Gloo, each with its share of the sequences.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

folder = Path(sys.argv[1])
setting = json.loads((folder / "setting.json").read_text())
torch.set_num_threads(setting["threads"])
RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
HIDDEN, HEADS, LENGTH = setting["hiddenSize"], setting["heads"], setting["length"]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)

    def forward(self, x):
        sequences = x.shape[0]
        q, k, v = (part.view(sequences, LENGTH, HEADS, -1).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(HIDDEN, dim=2))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(sequences, LENGTH, HIDDEN))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(setting["vocabularySize"], HIDDEN), nn.Embedding(LENGTH, HIDDEN)
        self.blocks = nn.ModuleList(Block() for _ in range(setting["layers"]))
        self.ln_f = nn.LayerNorm(HIDDEN)

    def forward(self, inputs, targets):
        x = self.tokens(inputs) + self.positions.weight
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def load(model: Gpt) -> None:
    """Weights in the names and layout of transformers' GPT-2, whose linear layers are stored as [in, out]."""
    stored = load_file(folder / "model.safetensors")
    take = lambda name, transposed=False: (lambda t: t.t().contiguous() if transposed else t)(stored.pop(f"transformer.{name}"))
    weights = {"tokens.weight": take("wte.weight"), "positions.weight": take("wpe.weight")}
    weights |= {f"ln_f.{kind}": take(f"ln_f.{kind}") for kind in ("weight", "bias")}
    layers = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj", "ln_1": "ln_1", "ln_2": "ln_2"}
    for index in range(setting["layers"]):
        for ours, theirs in layers.items():
            for kind in ("weight", "bias"):
                transposed = kind == "weight" and not ours.startswith("ln_")
                weights[f"blocks.{index}.{ours}.{kind}"] = take(f"h.{index}.{theirs}.{kind}", transposed)
    assert not stored, f"left over: {list(stored)}"
    model.load_state_dict(weights)


model = Gpt()
load(model)
matrices = [p for p in model.parameters() if p.dim() == 2]
others = [p for p in model.parameters() if p.dim() != 2]
optimizer = torch.optim.AdamW(
    [{"params": matrices, "weight_decay": setting["weightDecay"]}, {"params": others, "weight_decay": 0.0}],
    lr=setting["learningRate"], betas=(setting["beta1"], setting["beta2"]), eps=setting["epsilon"], fused=True,
)
tokens = torch.frombuffer(bytearray((folder / "tokens.bin").read_bytes()), dtype=torch.int32).long().view(-1, LENGTH + 1)
own = tokens.chunk(RANKS)[RANK]
inputs, targets = own[:, :-1].contiguous(), own[:, 1:].contiguous()
if RANKS > 1:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder.resolve()}/rendezvous", rank=RANK, world_size=RANKS)
    model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)

compiled = "TORCH_COMPILE" in os.environ
run = torch.compile(model) if compiled else model


mixed = setting.get("precision") == "bf16"


def step() -> float:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        loss = run(inputs, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), setting["clipNorm"])
    optimizer.step()
    return loss.item()


def timed_step() -> dict:
    begin, cpu_begin = time.perf_counter(), time.process_time()
    loss = step()
    return {"loss": loss, "seconds": time.perf_counter() - begin, "cpuSeconds": time.process_time() - cpu_begin}


def profiled_step() -> dict:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    rows = [(e.key, e.count, e.self_cpu_time_total / 1000) for e in profiler.key_averages()]
    rows.sort(key=lambda row: -row[2])
    return {"operations": [{"op": op, "calls": calls, "milliseconds": ms} for op, calls, ms in rows]}


commands = {
    "step": timed_step,
    "profile": profiled_step,
    "memory": lambda: {"peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024},
}
words = [
    f"PyTorch {torch.__version__} {'compiled' if compiled else 'eager'}",
    *(["autocast to bf16"] if mixed else []),
    *(["jemalloc, huge pages"] if "LD_PRELOAD" in os.environ else []),
    *([f"DDP over Gloo, {RANKS} processes"] if RANKS > 1 else []),
    torch.backends.cpu.get_cpu_capability(),
    f"{torch.get_num_threads()} threads",
]
print(json.dumps({"description": ", ".join(words), "version": torch.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps(commands[line.strip()]()), flush=True)
