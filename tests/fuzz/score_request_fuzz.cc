// Requests of `wyvern score`, as lines and as bodies of the completions protocol.
#include "data/io/json.h"
#include "data/tokenizer/byte_tokenizer.h"
#include "tests/fuzz/scratch.h"
#include "trainer/requests/request.h"
#include "trainer/server/completion.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using wyvern::ServedModel;
  static const auto& model = *new ServedModel(*ServedModel::Make(
      "model", wyvern::MakeByteTokenizer(), wyvern::ChatOptions(), 258, {.max_length = 4096}));
  const absl::string_view text = wyvern::View(data, size);
  const wyvern::RequestEncoder encoder(&model.tokenizer(), 258, {.max_length = 64});
  wyvern::ParseRequests(text, "requests.jsonl", encoder).IgnoreError();
  const auto body = wyvern::ParseOrderedJson(text, "the body");
  if (!body.ok() || !body->is_object()) return 0;
  wyvern::ParseChat(*body, model).IgnoreError();
  auto request = wyvern::ParseCompletion(*body, model);
  if (!request.ok()) return 0;
  const wyvern::Completion completion(&model, *std::move(request), "cmpl-0", 0);
  for (const std::vector<int32_t>& prompt : completion.request().prompts) {
    CHECK(!prompt.empty(), "a prompt without tokens");
    CHECK(model.encoder().CheckIds(prompt).ok(), "ids that the model does not have");
  }
  return 0;
}
