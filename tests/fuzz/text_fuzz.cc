// Text between separators: the documents and what stands between them are the file again. The first
// byte chooses the separator.
#include "absl/strings/str_cat.h"
#include "data/text/document_reader.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  if (size == 0) return 0;
  static constexpr const char* kSeparators[] = {"", "\n\n", "<|end|>", "aab"};
  const absl::string_view content = wyvern::View(data + 1, size - 1);
  const auto reader = wyvern::DocumentReader::Open(
      scratch.Write("text.txt", content), {.document_separator = kSeparators[data[0] % 4],
                                           .format = wyvern::TextFormat::kText,
                                           .long_documents = wyvern::LongDocuments::kInPieces});
  if (!reader.ok()) return 0;
  std::string text, document;
  bool ends = false;
  size_t found = 0;
  while (true) {
    const auto more = (*reader)->Next(&text, &ends);
    if (!more.ok() || !*more) return 0;
    absl::StrAppend(&document, text);
    if (!ends) continue;
    found = content.find(document, found);
    CHECK(found != absl::string_view::npos, "a document is not in its file");
    found += document.size();
    document.clear();
  }
}
