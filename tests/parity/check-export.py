"""Holds exported models of both families against transformers: folder and GGUF file load, and give the greedy tokens of our engine.

    python tests/parity/check-export.py

Needs torch, transformers, accelerate, safetensors and gguf, and a checkout that is set up. Not part of `npm test`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
TOKENS = 64


@torch.no_grad()
def greedy(model, prompt: list[int]) -> list[int]:
    """The most likely token each time, the end of text among them."""
    ids = list(prompt)
    for _ in range(TOKENS):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def check(what: str, model, texts: list[dict]) -> bool:
    wrong = [text["prompt"] for text in texts if len(text["completion"]) != TOKENS or greedy(model, text["prompt"]) != text["completion"]]
    distinct = len({token for text in texts for token in text["completion"]})
    verdict = f"differs after prompts {wrong}" if wrong else f"{len(texts)} x {TOKENS} greedy tokens are equal ({distinct} different ones)"
    print(f"{what}: {verdict}")
    return not wrong and distinct > 16


def main() -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([HERE / "../../node_modules/.bin/node", HERE / "make-exports.ts", folder], check=True)
        ok = []
        for family in ("gpt2", "llama"):
            texts = json.loads((folder / f"{family}.json").read_text())
            model, notes = AutoModelForCausalLM.from_pretrained(folder / family, output_loading_info=True)
            lost = {key: sorted(value) for key, value in notes.items() if value}
            ok += [not lost, check(f"{family} folder", model, texts)]
            if lost:
                print(f"{family} folder: {lost}")
            model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=f"{family}.gguf", dtype=torch.float32)
            ok += [check(f"{family} gguf", model, texts)]
        return all(ok)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
