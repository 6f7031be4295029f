// The bytes of a SentencePiece model.
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer =
      wyvern::MakeTokenizer("sentencepiece", std::string(wyvern::View(data, size)), "a.model");
  if (!tokenizer.ok()) return 0;
  const std::vector<int32_t> ids = (*tokenizer)->Encode("the quick brown f\xC3\xB6x\n");
  for (const int32_t id : ids) CHECK(id >= 0 && id < (*tokenizer)->vocab_size(), "id ", id);
  (*tokenizer)->Decode(ids);
  return 0;
}
