#!/usr/bin/env python3
"""Loads the tokenizer of an exported folder with transformers.

  read_hf_tokenizer.py FOLDER TEXT          prints the ids of TEXT as JSON
  read_hf_tokenizer.py --chat FOLDER JSON   prints the messages of JSON as the chat template renders them
"""

import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # else it tells of a PyTorch that is not there

import transformers


def main():
    is_chat = sys.argv[1] == "--chat"
    folder, path = sys.argv[1 + is_chat:]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    if is_chat:
        print(tokenizer.apply_chat_template(json.loads(text), tokenize=False, add_generation_prompt=True), end="")
        return
    ids = tokenizer.encode(text, add_special_tokens=False)
    if tokenizer.decode(ids) != text:
        raise ValueError("transformers decodes another text")
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
