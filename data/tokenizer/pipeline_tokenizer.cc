#include "data/tokenizer/pipeline_tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/utf8.h"
#include "data/tokenizer/piece_cache.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// The beginning of `text` that is UTF-8, of which a zero byte is a part.
size_t ValidLength(absl::string_view text) {
  size_t valid = 0;
  while (true) {
    valid += Utf8PrefixLength(text.substr(valid));
    if (valid == text.size() || text[valid] != '\0') return valid;
    ++valid;
  }
}

std::string WithoutFaults(absl::string_view text) {
  std::string mended;
  while (true) {
    const size_t zero = text.find('\0');
    std::string part(text.substr(0, zero));
    ReplaceUtf8Faults(&part);
    mended += part;
    if (zero == absl::string_view::npos) return mended;
    mended.push_back('\0');
    text.remove_prefix(zero + 1);
  }
}

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(TokenizerParts parts, DocumentTokens document_tokens,
                    AddedTokenMatcher raw_tokens, AddedTokenMatcher normalized_tokens)
      : parts_(std::move(parts)),
        document_tokens_(document_tokens),
        raw_tokens_(std::move(raw_tokens)),
        normalized_tokens_(std::move(normalized_tokens)),
        model_(SerializeBundle(parts_.bundle)),
        vocab_size_(parts_.vocabulary->end_id()) {
    for (const AddedToken& token : parts_.added_tokens) {
      vocab_size_ = std::max<int64_t>(vocab_size_, token.id + 1);
      added_.emplace(token.id, &token);
    }
  }

  std::vector<int32_t> Encode(absl::string_view text) const override {
    std::string mended;
    if (ValidLength(text) != text.size()) {
      mended = WithoutFaults(text);
      text = mended;
    }
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 16);
    raw_tokens_.Split(
        text,
        [&](size_t begin, size_t end) {
          EncodePart(text.substr(begin, end - begin), begin == 0, &ids);
        },
        [&](int32_t id) { ids.push_back(id); });
    return ids;
  }

  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::vector<std::string> tokens;
    for (const int32_t id : ids) {
      if (id == document_tokens_.bos || id == document_tokens_.eos) continue;
      const auto added = added_.find(id);
      if (added != added_.end()) {
        tokens.push_back(added->second->content);
      } else if (const std::string* token = parts_.vocabulary->Token(id)) {
        tokens.push_back(*token);
      }
    }
    if (tokens.empty()) return "";
    for (const auto& step : parts_.decoding.steps) step->Apply(&tokens);
    return absl::StrJoin(tokens, parts_.decoding.joins_with_spaces ? " " : "");
  }

  bool is_added(int32_t id) const override { return added_.count(id) > 0; }
  int64_t vocab_size() const override { return vocab_size_; }
  std::optional<int32_t> bos_id() const override { return document_tokens_.bos; }
  std::optional<int32_t> eos_id() const override { return document_tokens_.eos; }
  std::string kind() const override { return parts_.kind; }
  const std::string& model() const override { return model_; }
  std::map<std::string, std::string> files() const override { return parts_.bundle.files; }

 protected:
  std::string Identity() const override {
    return absl::StrCat(parts_.bundle.main_file(), "\n", parts_.bundle.settings.pattern, "\n",
                        document_tokens_.bos.value_or(-1), " ", document_tokens_.eos.value_or(-1));
  }

 private:
  // A part between tokens that are looked for in the text as it came.
  void EncodePart(absl::string_view part, bool at_text_begin, std::vector<int32_t>* ids) const {
    std::string changed;
    if (!parts_.normalizers.empty()) {
      changed = std::string(part);
      for (const auto& normalizer : parts_.normalizers) normalizer->Apply(&changed);
      part = changed;
    }
    normalized_tokens_.Split(
        part,
        [&](size_t begin, size_t end) {
          EncodeText(part.substr(begin, end - begin), at_text_begin && begin == 0, ids);
        },
        [&](int32_t id) { ids->push_back(id); });
  }

  void EncodeText(absl::string_view text, bool at_text_begin, std::vector<int32_t>* ids) const {
    Pieces pieces(text, at_text_begin);
    for (const auto& step : parts_.pre_tokenization.steps) step->Apply(&pieces);
    PieceCache& cache = PieceCacheOf(cache_owner_);
    const absl::string_view divided = pieces.text();
    for (const Pieces::Range& range : pieces.ranges()) {
      const absl::string_view piece = divided.substr(range.begin, range.end - range.begin);
      if (piece.size() > PieceCache::kMaxBytes) {
        parts_.model->Encode(piece, ids);
        continue;
      }
      const PieceCache::Key key = PieceCache::KeyOf(piece, divided.size() - range.begin);
      if (cache.Find(key, ids)) continue;
      const size_t old = ids->size();
      parts_.model->Encode(piece, ids);
      cache.Insert(key, ids->data() + old, ids->size() - old);
    }
  }

  const TokenizerParts parts_;
  const DocumentTokens document_tokens_;
  const AddedTokenMatcher raw_tokens_, normalized_tokens_;
  const std::string model_;
  int64_t vocab_size_;
  std::map<int32_t, const AddedToken*> added_;
  const uint64_t cache_owner_ = NewPieceCacheOwner();
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakePipelineTokenizer(TokenizerParts parts,
                                                                 const std::string& origin) {
  std::vector<AddedToken> tokens[2];  // as they come, normalised
  std::vector<std::string> spellings[2];
  std::set<std::string> known[2];
  std::vector<std::string> names;
  for (const AddedToken& token : parts.added_tokens) {
    std::string spelling = token.content;
    if (token.normalized) {
      for (const auto& normalizer : parts.normalizers) normalizer->Apply(&spelling);
    }
    if (spelling.empty() || !known[token.normalized].insert(spelling).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          origin, ": added_tokens: '", token.content, "' is '", spelling,
          "' once it is normalised, which cannot be told from another or from nothing"));
    }
    names.push_back(token.content);
    tokens[token.normalized].push_back(token);
    spellings[token.normalized].push_back(std::move(spelling));
  }
  if (parts.pre_tokenization.needs_text_begin) {
    for (const auto& normalizer : parts.normalizers) {
      if (!normalizer->may_remove_begin()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(origin,
                       ": pre_tokenizer: prepend_scheme 'first' behind a normalizer that may "
                       "remove the first character, which Wyvern cannot do as tokenizers does"));
    }
  }
  const auto find = [&parts](const std::string& token) -> std::optional<int32_t> {
    for (const AddedToken& added : parts.added_tokens) {
      if (added.content == token) return added.id;
    }
    return parts.vocabulary->Find(token);
  };
  ASSIGN_OR_RETURN(const DocumentTokens document_tokens,
                   FindDocumentTokens(parts.bundle, origin, names, find));
  return std::make_unique<PipelineTokenizer>(std::move(parts), document_tokens,
                                             AddedTokenMatcher(std::move(tokens[0]), spellings[0]),
                                             AddedTokenMatcher(std::move(tokens[1]), spellings[1]));
}

}  // namespace wyvern
