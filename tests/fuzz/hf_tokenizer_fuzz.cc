// A tokenizer.json and a text, with a zero byte between them: what is read encodes any text, and
// makes an equal tokenizer.
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input = wyvern::View(data, size);
  const size_t zero = input.find('\0');
  const std::string model(input.substr(0, zero));
  const absl::string_view text =
      zero == absl::string_view::npos ? "the quick brown f\xC3\xB6x\n" : input.substr(zero + 1);
  const auto tokenizer = wyvern::MakeTokenizer("tokenizer.json", model, "tokenizer.json");
  if (!tokenizer.ok()) return 0;
  const std::vector<int32_t> ids = (*tokenizer)->Encode(text);
  for (const int32_t id : ids) CHECK(id >= 0 && id < (*tokenizer)->vocab_size(), "id ", id);
  (*tokenizer)->Decode(ids);
  const auto again =
      wyvern::MakeTokenizer("tokenizer.json", (*tokenizer)->model(), "tokenizer.json");
  CHECK(again.ok(), again.status().ToString());
  CHECK((*again)->hash() == (*tokenizer)->hash() && (*again)->Encode(text) == ids,
        "the model makes another tokenizer");
  return 0;
}
