"""A training of seconds, and what its metrics say; for the tests of scripts/launch."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77

CONFIG = """
run: {{name: tiny, device: cpu, dir: {folder}/{run}}}
model:
  vocab_size: 258
  hidden_size: 32
  num_layers: 2
  intermediate_size: 48
  mixers:
    gdn: {{type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}}
  pattern: [gdn]
tokenizer: {{type: byte}}
data:
  sources: [{{dir: {folder}/store, text: [{folder}/text], document_separator: "\\n\\n"}}]
  seq_len: 32
train: {{steps: {steps}, batch_tokens: 256, micro_batch: 4}}
schedule: {{type: constant, peak: 5e-3}}
"""


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def write_text(folder):
    """The documents on which CONFIG trains."""
    (folder / "text").write_text("".join(
        f"document {i} of the text: {'delta rule ' * (i % 7 + 1)}\n\n" for i in range(200)))


def write_config(folder, run, steps, more):
    """The path of folder/run.yaml, a run of `steps` steps into folder/run; `more`: further sections."""
    path = folder / f"{run}.yaml"
    path.write_text(CONFIG.format(folder=folder, run=run, steps=steps) + more)
    return path


def losses(run):
    """Step to (loss, validation loss, gradient norm); a step twice is an error."""
    result = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        check(row["step"] not in result, f"step {row['step']} twice")
        result[row["step"]] = (row.get("loss"), row.get("val_loss"), row.get("grad_norm"))
    return result
