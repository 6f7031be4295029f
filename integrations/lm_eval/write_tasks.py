#!/usr/bin/env python3
"""Writes tasks of lm-eval as files for `wyvern eval --tasks`: their questions as they stand, without code or downloads.

  write_tasks.py [--num-fewshot K] [--limit N] [--include-path FOLDER] FOLDER TASK ...

FOLDER gets TASK.yaml and TASK.jsonl of each task. The contexts are those that lm-eval makes, with its examples and
descriptions, so the files give lm-eval's numbers. Tasks that judge answers by code of their own are refused, but for
those whose only metric is `contains`: SWDE, SQuAD and FDA.
"""

import argparse
import json
import pathlib
import sys

import wyvern_lm  # noqa: F401  (registers the metrics)
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

METRICS = {
    "multiple_choice": ["acc", "acc_norm", "acc_bytes"],
    "loglikelihood": ["perplexity", "acc"],
    "loglikelihood_rolling": ["word_perplexity", "byte_perplexity", "bits_per_byte"],
    "generate_until": ["exact_match", "contains", "word_recall"],
}


def metrics_of(name, task, kind):
    """The metrics with their options."""
    code = task.config.process_results is not None
    if code or type(task).process_results is not ConfigurableTask.process_results:
        if kind == "generate_until" and list(task.aggregation()) == ["contains"]:
            return [{"metric": "contains"}]
        raise SystemExit(f"{name}: judges answers by code of its own")
    if task.config.filter_list is not None:
        raise SystemExit(f"{name}: has filters (filter_list)")
    named = task.config.metric_list or [{"metric": metric} for metric in task.aggregation()]
    # Where the choices are contexts, these hold more than what other accuracies count the length of.
    known = ["acc"] if task.multiple_input else METRICS[kind]
    kept = [{key: value for key, value in entry.items() if key not in ("aggregation", "higher_is_better")}
            for entry in named if entry["metric"] in known]
    if not kept:
        raise SystemExit(f"{name}: none of its metrics is one of {', '.join(known)}")
    for entry in named:
        if entry["metric"] not in known:
            print(f"{name}: without the metric {entry['metric']}", file=sys.stderr)
    return kept


def document(task, kind, doc, context):
    """The fields of a document's line."""
    requests = task.construct_requests(doc, context)
    if kind == "multiple_choice":
        choices = task.doc_to_choice(doc)
        if task.multiple_input:
            return {"context": task.doc_to_text(doc), "choices": [request.args[0] for request in requests],
                    "target": str(task.doc_to_target(doc))}
        return {"context": context, "choices": choices, "target": task.doc_to_target(doc)}
    if kind == "generate_until":
        target = task.doc_to_target(doc)
        if task.config.doc_to_choice is not None:
            target = task.doc_to_choice(doc)[target]
        return {"context": context, "target": target if isinstance(target, list) else str(target)}
    return {"context": context if kind == "loglikelihood" else "", "target": requests.args[-1]}


def write(folder, name, task, num_fewshot, limit):
    kind = task.OUTPUT_TYPE
    if kind not in METRICS:
        raise SystemExit(f"{name}: output_type {kind} is none of {', '.join(METRICS)}")
    keys = {"task": name, "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}}, "test_split": "test",
            "output_type": kind, "doc_to_text": "context", "doc_to_target": "target",
            "metric_list": metrics_of(name, task, kind)}
    if kind == "multiple_choice":
        keys.update(doc_to_choice="choices", target_delimiter=task.config.target_delimiter)
    if num_fewshot is None:
        num_fewshot = task.config.num_fewshot or 0
    if kind == "loglikelihood_rolling" and num_fewshot > 0:
        raise SystemExit(f"{name}: whole texts have no examples")
    task.set_fewshot_seed(1234)  # lm-eval's default
    lines = []
    for _, doc in task.doc_iterator(limit=limit):
        context = task.fewshot_context(doc, num_fewshot=num_fewshot, gen_prefix=task.doc_to_prefix(doc))
        lines.append(json.dumps(document(task, kind, doc, context), ensure_ascii=False) + "\n")
        if kind == "generate_until" and "generation_kwargs" not in keys:
            options = task.construct_requests(doc, context)
            options = (options[0] if isinstance(options, list) else options).args[1]
            keys["generation_kwargs"] = {key: options[key] for key in sorted(options)}
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    # JSON is YAML.
    (folder / f"{name}.yaml").write_text(json.dumps(keys, indent=2) + "\n", encoding="utf-8")
    print(f"{folder / name}.yaml: {len(lines)} documents")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--num-fewshot", type=int, help="examples before each question (default: the task's)")
    parser.add_argument("--limit", type=int, help="documents of each task, the first ones (default: all)")
    parser.add_argument("--include-path", help="folder of more tasks")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    manager = TaskManager(include_path=options.include_path)
    for name, task in manager.load(options.tasks)["tasks"].items():
        write(options.folder, name, task, options.num_fewshot, options.limit)


if __name__ == "__main__":
    main()
