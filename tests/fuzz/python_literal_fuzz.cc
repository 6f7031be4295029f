// A literal of Python, as templates of tasks write them: its repr reads back as the same value.
#include "data/io/utf8.h"
#include "kernels/runtime/check.h"
#include "tests/fuzz/scratch.h"
#include "trainer/evaluation/python_literal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text = wyvern::View(data, size);
  if (wyvern::Utf8PrefixLength(text) < size) return 0;  // no template writes such a text
  const auto value = wyvern::ParsePythonLiteral(text);
  if (!value.ok()) return 0;
  const auto repr = wyvern::jinja::ToRepr(*value);
  if (!repr.ok()) return 0;  // more than a text may hold
  const auto again = wyvern::ParsePythonLiteral(*repr);
  CHECK(again.ok(), *repr, " does not read back: ", again.status().message());
  CHECK(wyvern::jinja::Equal(*value, *again), *repr, " reads back as another value");
  return 0;
}
