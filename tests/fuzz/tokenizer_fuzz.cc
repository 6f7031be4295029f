// Text through the tokenizers that Wyvern makes: valid UTF-8 comes back as it was, and bytes too
// from the byte tokenizer. Any ids decode.
#include <cstring>
#include <memory>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_training.h"
#include "tests/fuzz/scratch.h"

namespace {

std::unique_ptr<wyvern::Tokenizer> Train() {
  const wyvern::Scratch scratch;
  wyvern::TokenizerTrainOptions options;
  options.sources = {
      {.paths = {scratch.Write(
           "text.txt",
           "the quick brown fox jumps over the lazy dog\nwhile seven wizards brew tea\n")}}};
  options.output = scratch.Path("a.model");
  options.vocab_size = 300;
  options.num_threads = 1;
  const auto trained = wyvern::TrainTokenizer(options);
  CHECK(trained.ok(), trained.status().ToString());
  auto tokenizer = wyvern::LoadTokenizer(options.output);
  CHECK(tokenizer.ok(), tokenizer.status().ToString());
  return std::move(*tokenizer);
}

// Whether the pieces keep the text: valid UTF-8 without the character that stands for a space.
bool IsKept(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const int more = byte < 0x80 ? 0 : byte < 0xC2 ? -1 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    if (byte == 0 || more < 0 || byte > 0xF4 || i + more >= text.size()) return false;
    uint32_t code = more == 0 ? byte : byte & (0x3F >> more);
    for (int k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3F);
    }
    if ((more == 2 && code < 0x800) || (more == 3 && code < 0x10000) || code > 0x10FFFF ||
        (code >= 0xD800 && code < 0xE000) || code == 0x2581) {
      return false;
    }
    i += 1 + more;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::unique_ptr<wyvern::Tokenizer> pieces = Train();
  static const auto bytes = wyvern::LoadTokenizer("byte");
  const absl::string_view text = wyvern::View(data, size);
  CHECK((*bytes)->Decode((*bytes)->Encode(text)) == text, "the byte tokenizer lost something");
  const std::vector<int32_t> ids = pieces->Encode(text);
  for (const int32_t id : ids) CHECK(id >= 0 && id < pieces->vocab_size(), "id ", id);
  CHECK(!IsKept(text) || pieces->Decode(ids) == text, "the pieces lost something");
  std::vector<int32_t> any(size / sizeof(int32_t));
  if (!any.empty()) std::memcpy(any.data(), data, any.size() * sizeof(int32_t));
  pieces->Decode(any);
  (*bytes)->Decode(any);
  return 0;
}
