#!/usr/bin/env python3
"""Writes Parquet files of many kinds with pyarrow, and what it reads of them itself.

  write_parquet.py FOLDER     NAME.parquet of each case, and expected.json: {NAME: [FIELD, TEXTS]}
  write_parquet.py --chats FOLDER     NAME.parquet of conversations in several forms and types
  write_parquet.py --fixture FOLDER   the small files that tests/data/text reads
"""

import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = [f"document {i}: " + "δΔ∂ naïve 文字 " * (i % 7) + "\n" * (i % 3) for i in range(500)]
FEW = ["the same text", "another\none", "ein dritter: äöü"] * 200


def strings(texts, kind=None):
    return pa.table({"id": list(range(len(texts))), "text": pa.array(texts, kind or pa.string()),
                     "tags": [["a", "b"]] * len(texts)})


def nested(texts):
    rows = [{"text": t, "n": i, "deep": {"text": t and t.upper()}} for i, t in enumerate(texts)]
    rows[3] = None
    return pa.table({"text": ["no"] * len(rows), "meta": rows,
                     "turns": [[{"content": "a"}, {"content": "b"}]] * len(rows)})


def with_nulls(texts):
    return [None if i % 5 == 1 else "" if i % 5 == 2 else t for i, t in enumerate(texts)]


def cases():
    """Of each: name, table, field, options of the writer."""
    for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli"):
        for version in ("1.0", "2.0"):
            yield (f"{codec}_{version}", strings(TEXTS), "text",
                   {"compression": codec, "data_page_version": version, "row_group_size": 170,
                    "write_page_checksum": True})
    for name, kind in (("large", pa.large_string()), ("view", pa.string_view()),
                       ("binary", pa.binary()), ("large_binary", pa.large_binary())):
        yield name, strings(TEXTS, kind), "text", {"compression": "zstd"}
    yield "dictionary", strings(FEW, pa.dictionary(pa.int32(), pa.string())), "text", {}
    yield "small_pages", strings(FEW), "text", {"data_page_size": 256, "write_batch_size": 8}
    # Dictionaries that grow too large, after which the pages hold the values themselves.
    yield "fallback", strings(TEXTS * 20), "text", {"dictionary_pagesize_limit": 4096}
    for encoding in ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"):
        yield (encoding.lower(), strings(with_nulls(TEXTS)), "text",
               {"use_dictionary": False, "column_encoding": {"text": encoding}})
    yield "nulls", strings(with_nulls(TEXTS)), "text", {"row_group_size": 100}
    yield "all_null", strings([None] * 300), "text", {}
    yield "required", pa.Table.from_arrays([pa.array(TEXTS)], schema=pa.schema(
        [pa.field("text", pa.string(), nullable=False)])), "text", {}
    yield "nested", nested(with_nulls(TEXTS)), "meta.text", {"row_group_size": 64}
    yield "deeper", nested(with_nulls(TEXTS)), "meta.deep.text", {"row_group_size": 64}
    yield "beside", nested(with_nulls(TEXTS)), "text", {}
    yield "many_groups", strings(TEXTS), "text", {"row_group_size": 1}
    yield "no_rows", strings([]), "text", {}
    yield "dots", pa.table({"a.b": TEXTS}), "a.b", {}
    yield "no_schema", pa.table({"content": TEXTS}), "content", {"store_schema": False}


def texts_of(path, field):
    """The column as pyarrow reads it, without nulls and blank texts."""
    table = pq.read_table(path)
    if field in table.column_names:
        values = table.column(field).to_pylist()
    else:
        first, *rest = field.split(".")
        values = table.column(first).to_pylist()
        for name in rest:
            values = [None if v is None else v[name] for v in values]
    values = [v.decode() if isinstance(v, bytes) else v for v in values]
    return [v for v in values if v is not None and v.strip(" \t\n\v\f\r")]


def fixture(path):
    texts = ["first document\n", None, "zweites: äöü", "", "the same", "the same", "last one"]
    meta = [None if t is None else {"body": t.upper()} for t in texts]
    table = pa.table({"text": texts, "meta": meta, "n": list(range(7)),
                      "raw": pa.array([b"ok", b"caf\xe9", b"a\0b", b"", b"x", b"y", b"z"]),
                      "turns": [["a", "b"]] * 7})
    pq.write_table(table, path, compression="snappy", row_group_size=3, write_page_checksum=True,
                   write_statistics=False, store_schema=False)


def chat_fixture(path):
    def turns(*contents):
        roles = ["system"] * (len(contents) % 2) + ["user", "assistant"] * 2
        return [{"role": role, "content": text} for role, text in zip(roles, contents)]

    pq.write_table(pa.table({"id": ["x", None], "messages": [turns("S", "1+1", "2"), turns("a", "b", "c", "d")]}),
                   path, compression="snappy", row_group_size=1, write_statistics=False, store_schema=False)


def chats(folder):
    """The same conversations in each file, but for their form and the types of their columns."""
    roles = [{"role": "system", "content": "S"}, {"role": "user", "content": "1+1 é"},
             {"role": "assistant", "content": "2"}]
    speakers = [{"from": who, "value": m["content"]} for who, m in zip(("system", "human", "gpt"), roles)]
    message = pa.struct([("role", pa.dictionary(pa.int8(), pa.string())), ("content", pa.large_string()),
                         ("name", pa.string())])
    tables = {
        "messages": {"messages": pa.array([roles] * 5), "text": ["x"] * 5, "score": [0.5] * 5},
        "typed": {"id": list(range(5)), "messages": pa.array([roles] * 5, pa.large_list(message))},
        "conversations": {"conversations": pa.array([speakers] * 5), "source": ["s"] * 5},
        "alpaca": {"instruction": ["1+1 é"] * 5, "input": ["", None] * 2 + [""], "output": ["2"] * 5,
                   "system": ["S"] * 5},
        "pair": {"prompt": pa.array([roles[:2]] * 5), "completion": pa.array([roles[2:]] * 5)},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", compression="zstd", row_group_size=2)
    print(f"OK: {len(tables)} files")


def main():
    if sys.argv[1] == "--chats":
        folder = pathlib.Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        chats(folder)
        return
    if sys.argv[1] == "--fixture":
        fixture(f"{sys.argv[2]}/rows.parquet")
        chat_fixture(f"{sys.argv[2]}/chats.parquet")
        return
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, table, field, options in cases():
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, **options)
        expected[name] = [field, texts_of(path, field)]
    (folder / "expected.json").write_text(json.dumps(expected))
    print(f"OK: {len(expected)} files")


if __name__ == "__main__":
    main()
