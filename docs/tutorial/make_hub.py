#!/usr/bin/env python3
"""Makes data sets for docs/tutorial.md, as a hub would offer them, from the King James Bible of configs/corpus.

  make_hub.py FOLDER

  FOLDER/bible     a card and two shards: Parquet if python3 has pyarrow, else JSON lines in gzip
  FOLDER/psalms    a card and one shard of JSON lines in gzip
  FOLDER/chat      conversations, as JSON lines with messages
"""

import gzip
import json
import pathlib
import sys

CORPUS = pathlib.Path(__file__).resolve().parents[2] / "configs/corpus/kjv.txt"


def write_rows(path, rows):
    """A shard of a data set; `path` has no ending yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return write_lines(path.with_name(path.name + ".json.gz"), rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), f"{path}.parquet", compression="zstd")


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_card(folder, name):
    card = f"---\nlicense: cc0-1.0\npretty_name: {name}\n---\n\n# {name}\n\nOne chapter a row, in the column `text`.\n"
    (folder / "README.md").write_text(card)


def conversation(chapter):
    """Asks for the first verses of a chapter, one after the other."""
    title, *verses = chapter.splitlines()
    messages = []
    for question, verse in zip([f"How does {title} begin?", "And then?", "Go on."], verses):
        messages += [{"role": "user", "content": question},
                     {"role": "assistant", "content": verse.split(" ", 1)[1]}]
    return {"messages": messages}


def main():
    hub = pathlib.Path(sys.argv[1])
    chapters = CORPUS.read_text(encoding="utf-8").strip().split("\n\n")
    rows = [{"id": i, "text": text + "\n"} for i, text in enumerate(chapters)]
    psalms = [row for row in rows if row["text"].startswith("Psalm")]
    others = [row for row in rows if not row["text"].startswith("Psalm")]
    half = len(others) // 2
    write_rows(hub / "bible/data/train-00000-of-00002", others[:half])
    write_rows(hub / "bible/data/train-00001-of-00002", others[half:])
    write_lines(hub / "psalms/data/train.json.gz", psalms)
    write_card(hub / "bible", "King James Bible")
    write_card(hub / "psalms", "Psalms")
    write_lines(hub / "chat/train.jsonl", [conversation(chapter) for chapter in chapters])


if __name__ == "__main__":
    main()
