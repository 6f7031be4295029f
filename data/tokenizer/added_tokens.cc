#include "data/tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace wyvern {
namespace {

const CodePointTable& Words() {
  static const auto* table = new CodePointTable(UnicodeAlphabetic()
                                                    .Union(UnicodeCategory("M"))
                                                    .Union(UnicodeCategory("Nd"))
                                                    .Union(UnicodeCategory("Pc"))
                                                    .Union(CodePointSet::Of({{0x200C, 0x200D}})));
  return *table;
}

const CodePointTable& Spaces() {
  static const auto* table = new CodePointTable(UnicodeWhiteSpace());
  return *table;
}

size_t PreviousCharacter(absl::string_view text, size_t at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

bool IsAt(const CodePointTable& table, absl::string_view text, size_t at) {
  int length;
  return table.Has(DecodeCharacter(text.data() + at, &length));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens,
                                     const std::vector<std::string>& spellings)
    : tokens_(std::move(tokens)), nodes_(1) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    int32_t node = 0;
    for (const char c : spellings[i]) {
      const auto [place, added] = nodes_[static_cast<size_t>(node)].next.try_emplace(
          static_cast<unsigned char>(c), static_cast<int32_t>(nodes_.size()));
      node = place->second;
      if (added) nodes_.emplace_back();
    }
    nodes_[static_cast<size_t>(node)].token = static_cast<int32_t>(i);
  }
  for (const auto& [byte, node] : nodes_[0].next) begins_[byte] = true;
  if (nodes_[0].next.size() == 1) only_begin_ = nodes_[0].next.begin()->first;
}

int32_t AddedTokenMatcher::LongestAt(absl::string_view text, size_t at, size_t* end) const {
  int32_t longest = -1;
  size_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto next = nodes_[node].next.find(static_cast<unsigned char>(text[i]));
    if (next == nodes_[node].next.end()) break;
    node = static_cast<size_t>(next->second);
    if (nodes_[node].token >= 0) {
      longest = nodes_[node].token;
      *end = i + 1;
    }
  }
  return longest;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::Next(absl::string_view text, size_t from,
                                                                size_t done) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (only_begin_ >= 0) {
      const void* found = std::memchr(text.data() + at, only_begin_, text.size() - at);
      if (found == nullptr) return std::nullopt;
      at = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    } else if (!begins_[static_cast<unsigned char>(text[at])]) {
      continue;
    }
    size_t end = 0;
    const int32_t index = LongestAt(text, at, &end);
    if (index < 0) continue;
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    Match match{token.id, at, end, end};
    const bool in_word = (at > 0 && IsAt(Words(), text, PreviousCharacter(text, at))) ||
                         (end < text.size() && IsAt(Words(), text, end));
    if (token.single_word && in_word) {
      at = end - 1;  // passed over
      continue;
    }
    if (token.lstrip) {
      size_t begin = at;
      while (begin > done && IsAt(Spaces(), text, PreviousCharacter(text, begin))) {
        begin = PreviousCharacter(text, begin);
      }
      match.begin = std::max(begin, done);
    }
    while (token.rstrip && match.end < text.size() && IsAt(Spaces(), text, match.end)) {
      match.end += static_cast<size_t>(CharacterLength(text[match.end]));
    }
    return match;
  }
  return std::nullopt;
}

}  // namespace wyvern
