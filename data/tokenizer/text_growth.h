// How much longer a chain of steps can make a text, so that no file makes one grow without bound.
#ifndef WYVERN_DATA_TOKENIZER_TEXT_GROWTH_H_
#define WYVERN_DATA_TOKENIZER_TEXT_GROWTH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// The most that a file's steps may make of a byte, besides what a normal form or lower case makes
// of a text that no other step has changed (at most 33 and 1.5 bytes).
inline constexpr double kMaxTextGrowth = 64;
inline constexpr size_t kMaxTextSteps = 256;

// Each character has a weight: the bytes that may come of it by the steps that follow. A text's
// weight is the sum of its characters' weights. Steps are added from the last to the first.
class TextGrowth {
 public:
  // The characters that steps name, and those that Map may make of them. All others count by their
  // bytes.
  explicit TextGrowth(const std::set<uint32_t>& named);

  // The step replaces a text that stands for itself, of one character at least.
  void ReplaceText(absl::string_view text, absl::string_view content);
  // It replaces whatever has at least `min_characters`, which may be 0.
  void ReplaceAny(int min_characters, absl::string_view content);
  // It writes `prefix` before texts of one character at least.
  void Prepend(absl::string_view prefix);
  // It changes characters one by one.
  void Map(const std::function<std::string(const std::string&)>& map);
  // It joins characters: what `parts` makes of one may become that one.
  void Join(const std::function<std::string(const std::string&)>& parts);
  // It makes other characters, of no more than `factor` as many bytes.
  void Rewrite(double factor);

  // The bytes that may come of one byte.
  double most() const;

 private:
  double WeightOf(absl::string_view text) const;

  std::map<uint32_t, double> weights_;
  double other_ = 1;     // of a byte of any other character
  double prefixes_ = 0;  // of what is written before a text
};

// Adds the characters of a text to a set.
void AddCharactersOf(absl::string_view text, std::set<uint32_t>* characters);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TEXT_GROWTH_H_
