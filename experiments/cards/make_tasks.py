#!/usr/bin/env python3
"""Tasks of a text, of the kinds of the papers' tables, as files in lm-eval's form.

  make_tasks.py TEXT FOLDER [--limit N]

TEXT has documents divided by empty lines. FOLDER gets, of each kind at most N documents:
  perplexity  whole documents
  last_word   the last word of a document after all that stands before it, as LAMBADA
  ending      the ending of a document among those of three others, as HellaSwag
  recall      what stood behind some words of the document, asked for at its end, as SWDE and SQuAD
"""

import argparse
import json
import pathlib

KINDS = {
    "perplexity": """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "last_word": """output_type: loglikelihood
doc_to_text: "{{context}}"
doc_to_target: "{{' ' + word}}"
target_delimiter: ""
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "ending": """output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{endings}}"
doc_to_target: label
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "recall": """output_type: generate_until
doc_to_text: "{{context}}"
doc_to_target: "{{word}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}, {metric: contains}]
""",
}


def documents(texts):
    halves = [(" ".join(words[:len(words) // 2]), " ".join(words[len(words) // 2:]))
              for words in (text.split() for text in texts)]
    made = {kind: [] for kind in KINDS}
    for i, text in enumerate(texts):
        words = text.split()
        made["perplexity"].append({"text": text})
        made["last_word"].append({"context": " ".join(words[:-1]), "word": words[-1]})
        label = i % 4
        endings = [halves[(i + 1 + j) % len(texts)][1] for j in range(3)]
        endings.insert(label, halves[i][1])
        made["ending"].append({"context": halves[i][0], "endings": endings, "label": label})
        at = len(words) // 3
        made["recall"].append({"context": f"{text} {' '.join(words[at - 4:at])}", "word": words[at]})
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    texts = [" ".join(text.split()) for text in options.text.read_text(encoding="utf-8").split("\n\n")]
    texts = [text for text in texts if 16 <= len(text.split()) <= 400][:options.limit]
    if len(texts) < 4:
        raise SystemExit(f"{options.text}: expected four documents of 16 to 400 words, found {len(texts)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for kind, docs in documents(texts).items():
        data = options.folder.resolve() / f"{kind}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
        (options.folder / f"{kind}.yaml").write_text(
            f"task: {kind}\ndataset_path: json\n"
            f"dataset_kwargs: {{data_files: {{test: {json.dumps(str(data))}}}}}\ntest_split: test\n{KINDS[kind]}",
            encoding="utf-8")


if __name__ == "__main__":
    main()
