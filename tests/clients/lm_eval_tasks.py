#!/usr/bin/env python3
"""Tasks of local files, of each kind that lm-eval has, scored by Wyvern in every way that there is.

  lm_eval_tasks.py WYVERN CHECKPOINT FOLDER [--hf HF_FOLDER]

WYVERN is the program. FOLDER is to hold the tasks. lm-eval runs them with the adapter of
integrations/lm_eval, with its own client of the completions protocol against `wyvern score --serve`,
and, given the exported folder of the same weights, with its own model `hf`. All of them must agree:
in log-likelihoods within 1e-4, in texts and decisions exactly. `wyvern eval --tasks` runs the same files and must give
lm-eval's metrics and their standard errors.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false",
                  TQDM_DISABLE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "integrations" / "lm_eval"))

import lm_eval  # noqa: E402
import lm_eval.tasks  # noqa: E402
import write_tasks  # noqa: E402
import wyvern_lm  # noqa: E402,F401  (registers the model)

TOLERANCE = 1e-4
MAX_LENGTH = 40
WORDS = ["delta", "rule", "erases", "then", "writes", "state", "key"]


def words(seed, count):
    """Words as in the text that the model was trained on."""
    chosen = []
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) % 2**32
        chosen.append(WORDS[(seed >> 24) % len(WORDS)])
    return " ".join(chosen)


def documents():
    """The documents of each task. Some are longer than what the models may read."""
    choice = [{"question": words(i, 3 + i % 5) + (" " if i % 4 == 0 else ""),
               "choices": [" " + words(7 * i + j, 1 + j) for j in range(3)], "label": i % 3}
              for i in range(12)]
    choice[5]["question"] = ""
    choice[6]["question"] = "\u00fcber\u3000"
    cloze = [{"text": words(100 + i, 4 + 5 * (i % 8))} for i in range(24)]
    rolling = [{"text": words(200 + i, 1 + 12 * i) + "\n\u20ac \u4e2d"} for i in range(5)]
    generate = [{"text": words(300 + i, 2 + i), "answer": words(400 + i, 2)} for i in range(6)]
    pairs = [{"stem": words(500 + i, 3), "options": [words(510 + i, 1), words(530 + i, 2)], "right": i % 2,
              "ending": words(550 + i, 2)} for i in range(8)]
    fields = [{"question": words(600 + i, 4), "texts": [words(620 + 3 * i + j, 1 + j) for j in range(3)]}
              for i in range(10)]
    for i, doc in enumerate(fields):
        doc["answer"] = doc["texts"][i % 3] if i != 4 else "none of them"
    recall = [{"text": words(700 + i, 5), "value": words(720 + i, 1 + i % 2).upper()} for i in range(24)]
    several = [{"text": words(800 + i, 3),
                "answers": [words(820 + 7 * i + j, 1).upper() + "!" * (j % 2) for j in range(4)]}
               for i in range(12)]
    shots = [{"text": words(900 + i, 1 + i % 2)} for i in range(10)]
    return {"choice": choice, "cloze": cloze, "rolling": rolling, "generate": generate, "pairs": pairs,
            "fields": fields, "recall": recall, "several": several, "shots": shots}


KINDS = {
    "choice": """output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "cloze": """output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: "{{' '+text.split(' ')[-1]}}"
target_delimiter: ""
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "rolling": """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "generate": """output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["state", "\\n\\n", "s t"], max_gen_toks: 12}
metric_list: [{metric: exact_match}]
""",
    # The choices are contexts, as in WinoGrande.
    "pairs": """output_type: multiple_choice
doc_to_text: "{{right}}"
doc_to_choice: "{{[stem ~ ' ' ~ options[0], stem ~ ' ' ~ options[1]]}}"
doc_to_target: ending
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
""",
    "fields": """output_type: multiple_choice
description: "Some words.\n\n"
doc_to_text: question
gen_prefix: "then"
doc_to_choice: texts
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}]
metadata: {version: 1.0}
""",
    "recall": """output_type: generate_until
doc_to_text: "{% if text %}\n{% endif %}{{text|trim}}"
doc_to_target: "{{value}}"
generation_kwargs: {until: [], max_gen_toks: 16, do_sample: false, temperature: 0.0}
metric_list: [{metric: contains}, {metric: word_recall}]
""",
    "several": """output_type: generate_until
doc_to_text: text
doc_to_target: "{{answers}}"
gen_prefix: " "
generation_kwargs: {until: " ", max_gen_toks: 8}
metric_list: [{metric: exact_match, ignore_case: true, ignore_punctuation: true}, {metric: contains}]
""",
    # With examples, which `wyvern eval` does not draw itself.
    "shots": """output_type: loglikelihood
doc_to_text: text
doc_to_target: " state"
fewshot_split: test
num_fewshot: 2
""",
}


def write_local_tasks(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, docs in documents().items():
        data = folder / f"{kind}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
        (folder / f"{kind}.yaml").write_text(
            f"task: local_{kind}\ndataset_path: json\n"
            f"dataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n{KINDS[kind]}",
            encoding="utf-8")


def evaluate(model, arguments, tasks, bootstrap_iters=0):
    """For each task, the responses to its requests and its metrics."""
    found = lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=[f"local_{kind}" for kind in KINDS],
        task_manager=tasks, log_samples=True, bootstrap_iters=bootstrap_iters, verbosity="ERROR")
    responses = {}
    for task, samples in found["samples"].items():
        samples = sorted(samples, key=lambda sample: sample["doc_id"])
        responses[task] = [sample["filtered_resps"] for sample in samples]
    metrics = {task: {name: value for name, value in values.items() if isinstance(value, float)}
               for task, values in found["results"].items()}
    return responses, metrics


def evaluated(wyvern, checkpoint, files):
    """The metrics of `wyvern eval --tasks` on these files."""
    output = files[0].parent / "results.json"
    subprocess.run([wyvern, "eval", checkpoint, "--tasks", *files,
                    "--max-length", str(MAX_LENGTH), "--device", "cpu", "--output", output], check=True)
    results = json.loads(output.read_text())["results"]
    return {task: {name: value for name, value in values.items() if isinstance(value, float)}
            for task, values in results.items()}


def difference(path, a, b):
    """The largest difference of two values' numbers; ends the program where anything else differs."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max([0.0, *(difference(f"{path}.{key}", a[key], b[key]) for key in a)])
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return max([0.0, *(difference(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(a, b)))])
    if isinstance(a, float) and isinstance(b, float):
        if abs(a - b) > TOLERANCE * max(1.0, abs(b) / 100):
            raise SystemExit(f"{path}: {a} is not {b}")
        return abs(a - b)
    if a != b:
        raise SystemExit(f"{path}: {a!r} is not {b!r}")
    return 0.0


class Server:
    """`wyvern score --serve` on a free port."""

    def __init__(self, wyvern, checkpoint):
        self.process = subprocess.Popen(
            [wyvern, "score", checkpoint, "--serve", "--port", "0", "--device", "cpu"],
            stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.read()
        if self.process.wait(timeout=30) != 0:
            raise SystemExit("the server did not end well")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wyvern")
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--hf")
    options = parser.parse_args()
    write_local_tasks(options.folder)
    tasks = lm_eval.tasks.TaskManager(include_path=str(options.folder), include_defaults=False)

    # The adapter as a program of its own.
    subprocess.run([sys.executable, wyvern_lm.__file__, "--help"], check=True, stdout=subprocess.DEVNULL)

    own, metrics = evaluate("wyvern", {"checkpoint": options.checkpoint, "wyvern": options.wyvern,
                                       "max_length": MAX_LENGTH}, tasks, bootstrap_iters=100000)
    files = [options.folder / f"{kind}.yaml" for kind in KINDS if kind != "shots"]
    without_examples = {task: values for task, values in metrics.items() if task != "local_shots"}
    difference("wyvern eval", without_examples, evaluated(options.wyvern, options.checkpoint, files))
    # The same tasks, written without templates.
    written = options.folder / "written"
    written.mkdir()
    for name, task in tasks.load(list(metrics))["tasks"].items():
        write_tasks.write(written, name, task, num_fewshot=None, limit=None)
    files = [written / f"{name}.yaml" for name in metrics]
    difference("written tasks", metrics, evaluated(options.wyvern, options.checkpoint, files))
    metrics = {task: {name: value for name, value in values.items() if "_stderr" not in name}
               for task, values in metrics.items()}
    server = Server(options.wyvern, options.checkpoint)
    try:
        # This client cuts requests to two tokens less than `hf` does.
        others = {"the server": evaluate("local-completions", {
            "base_url": server.url + "/completions", "model": "tiny",
            "max_length": MAX_LENGTH + 2, "batch_size": 4}, tasks)}
    finally:
        server.stop()
    if options.hf is not None:
        others["hf"] = evaluate("hf", {"pretrained": options.hf, "dtype": "float32", "device": "cpu",
                                       "max_length": MAX_LENGTH, "trust_remote_code": True}, tasks)
    print(json.dumps(metrics, indent=1, sort_keys=True))
    for name, (responses, other_metrics) in others.items():
        largest = difference(name, own, responses)
        difference(name, metrics, other_metrics)
        print(f"{name}: log-likelihoods differ by {largest:.1e} at most")
    print(f"OK: {sum(len(docs) for docs in own.values())} documents, {1 + len(others)} ways")


if __name__ == "__main__":
    main()
