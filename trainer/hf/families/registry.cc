#include "trainer/hf/families/registry.h"

namespace wyvern {

const std::vector<const HfFamily*>& HfFamilies() {
  // One row a line, so that additions merge. Where several families have a model's mixer, `export`
  // prefers the later row: more programs read Hugging Face's own families.
  // clang-format off
  static const std::vector<const HfFamily*> rows = {
      &kDeltaNetFamily,
      &kGatedDeltaNetFamily,
      &kKdaFamily,
      &kGlaFamily,
      &kMamba2Family,
      &kTransformerFamily,
      &kMistralFamily,
      &kLlamaFamily,
      &kQwen3Family,
      &kQwen3NextFamily,
      &kQwen35Family,
      &kOlmoHybridFamily,
      &kBailingHybridFamily,
      &kKimiLinearFamily,
      &kWyvernFamily,
  };
  // clang-format on
  return rows;
}

}  // namespace wyvern
