// JSON lines, as documents of training text.
#include "data/text/document_reader.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  const std::string path = scratch.Write("text.jsonl", wyvern::View(data, size));
  const auto reader =
      wyvern::DocumentReader::Open(path, {.field = "text", .format = wyvern::TextFormat::kJson});
  if (!reader.ok()) return 0;
  std::string text;
  bool ends = false;
  size_t total = 0;
  while (true) {
    const auto more = (*reader)->Next(&text, &ends);
    if (!more.ok() || !*more) return 0;
    total += text.size();
    CHECK(!text.empty() && total <= size, "the documents hold more than the file");
  }
}
