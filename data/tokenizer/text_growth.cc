#include "data/tokenizer/text_growth.h"

#include <algorithm>

#include "data/tokenizer/code_points.h"

namespace wyvern {
namespace {

std::string TextOf(uint32_t character) {
  std::string text;
  AppendCharacter(character, &text);
  return text;
}

template <typename Visit>
void ForEachCharacter(absl::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    int length;
    visit(DecodeCharacter(text.data() + at, &length));
    at += static_cast<size_t>(length);
  }
}

}  // namespace

TextGrowth::TextGrowth(const std::set<uint32_t>& named) {
  for (const uint32_t c : named) weights_[c] = static_cast<double>(TextOf(c).size());
}

void TextGrowth::ReplaceText(absl::string_view text, absl::string_view content) {
  double characters = 0;
  ForEachCharacter(text, [&](uint32_t) { ++characters; });
  const double share = WeightOf(content) / characters;
  ForEachCharacter(text, [&](uint32_t c) { weights_[c] = std::max(weights_[c], share); });
}

void TextGrowth::ReplaceAny(int min_characters, absl::string_view content) {
  const double weight = WeightOf(content);
  if (min_characters == 0) {
    // n characters have n + 1 places without any.
    for (auto& [c, known] : weights_) known += 2 * weight;
    other_ += 2 * weight;
  } else {
    const double share = weight / min_characters;
    for (auto& [c, known] : weights_) known = std::max(known, share);
    other_ = std::max(other_, share);
  }
}

void TextGrowth::Prepend(absl::string_view prefix) { prefixes_ += WeightOf(prefix); }

void TextGrowth::Map(const std::function<std::string(const std::string&)>& map) {
  std::map<uint32_t, double> before;
  for (const auto& [c, ignored] : weights_) before[c] = WeightOf(map(TextOf(c)));
  weights_ = std::move(before);
}

void TextGrowth::Join(const std::function<std::string(const std::string&)>& parts) {
  std::map<uint32_t, double> before = weights_;
  for (const auto& [c, weight] : weights_) {
    ForEachCharacter(parts(TextOf(c)), [&, w = weight](uint32_t part) {
      before[part] = std::max({before[part], w, WeightOf(TextOf(part))});
    });
  }
  weights_ = std::move(before);
}

void TextGrowth::Rewrite(double factor) {
  other_ = factor * most();
  for (auto& [c, weight] : weights_) weight = other_ * static_cast<double>(TextOf(c).size());
}

double TextGrowth::most() const {
  double most = other_;
  for (const auto& [c, weight] : weights_) {
    most = std::max(most, weight / static_cast<double>(TextOf(c).size()));
  }
  return most + prefixes_;
}

double TextGrowth::WeightOf(absl::string_view text) const {
  double sum = 0;
  ForEachCharacter(text, [&](uint32_t c) {
    const auto known = weights_.find(c);
    sum += known != weights_.end() ? known->second : other_ * static_cast<double>(TextOf(c).size());
  });
  return sum;
}

void AddCharactersOf(absl::string_view text, std::set<uint32_t>* characters) {
  ForEachCharacter(text, [characters](uint32_t c) { characters->insert(c); });
}

}  // namespace wyvern
