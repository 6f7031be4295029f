// Changes of a text before it is divided: normal forms, case, replacements.
#ifndef WYVERN_DATA_TOKENIZER_NORMALIZER_H_
#define WYVERN_DATA_TOKENIZER_NORMALIZER_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/json_part.h"
#include "data/tokenizer/text_growth.h"

namespace wyvern {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void Apply(std::string* text) const = 0;
  // Whether the first character may go without another one in its place.
  virtual bool may_remove_begin() const { return false; }
  // Adds the characters that it looks for and writes, and those that it makes of these.
  virtual void AddNamed(std::set<uint32_t>* /*characters*/) const {}
  // Adds itself to what follows; one that only takes away adds nothing.
  virtual void Bound(TextGrowth* /*growth*/) const {}
};

// Makes those of the part "normalizer", which may be null, in order. Errors name what is unknown,
// and what could make a text more than kMaxTextGrowth times as long.
absl::StatusOr<std::vector<std::unique_ptr<Normalizer>>> MakeNormalizers(const JsonPart& part);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_NORMALIZER_H_
