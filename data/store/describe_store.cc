#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "data/store/token_store.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kShownTokens = 64;
constexpr size_t kShownSources = 10;

void AppendDocuments(const TokenStore& store, std::string* text) {
  const absl::Span<const int64_t> offsets = store.document_offsets();
  std::vector<int64_t> lengths;
  for (size_t d = 0; d + 1 < offsets.size(); ++d) lengths.push_back(offsets[d + 1] - offsets[d]);
  if (lengths.empty()) return;
  std::sort(lengths.begin(), lengths.end());
  absl::StrAppendFormat(
      text, "  document tokens  min %d, median %d, mean %.1f, max %d\n", lengths.front(),
      lengths[lengths.size() / 2],
      static_cast<double>(store.num_tokens()) / static_cast<double>(lengths.size()),
      lengths.back());
}

// For a store of conversations.
absl::Status AppendLearnt(const TokenStore& store, std::string* text) {
  if (!store.has_learnt()) return absl::OkStatus();
  int64_t learnt = 0;
  std::vector<uint8_t> block(store.info().block_tokens);
  for (int64_t begin = 0; begin < store.num_tokens(); begin += store.info().block_tokens) {
    const int64_t end = std::min(begin + store.info().block_tokens, store.num_tokens());
    RETURN_IF_ERROR(store.ReadLearnt(begin, end, block.data()));
    learnt += std::count(block.begin(), block.begin() + (end - begin), 1);
  }
  absl::StrAppendFormat(text, "  learnt tokens    %d (%.1f%%)\n", learnt,
                        100.0 * static_cast<double>(learnt) /
                            static_cast<double>(std::max<int64_t>(store.num_tokens(), 1)));
  return absl::OkStatus();
}

absl::Status AppendSources(const TokenStore& store, std::string* text) {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, store.ReadSourceFiles());
  ASSIGN_OR_RETURN(const std::vector<int32_t> sources, store.ReadDocumentSources());
  std::vector<int64_t> documents(files.size(), 0), tokens(files.size(), 0);
  const absl::Span<const int64_t> offsets = store.document_offsets();
  for (size_t d = 0; d < sources.size(); ++d) {
    const auto source = static_cast<size_t>(sources[d]);
    if (source >= files.size()) {
      return absl::DataLossError(absl::StrCat(store.path(), ": document ", d, " names source ",
                                              sources[d], " of ", files.size()));
    }
    ++documents[source];
    tokens[source] += offsets[d + 1] - offsets[d];
  }
  absl::StrAppendFormat(text, "  sources          %d\n", files.size());
  for (size_t i = 0; i < std::min(files.size(), kShownSources); ++i) {
    absl::StrAppendFormat(text, "    %s: %d documents, %d tokens\n", files[i], documents[i],
                          tokens[i]);
  }
  if (files.size() > kShownSources) {
    absl::StrAppendFormat(text, "    and %d more\n", files.size() - kShownSources);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> DescribeStore(const std::string& path, bool verify) {
  ASSIGN_OR_RETURN(const std::shared_ptr<TokenStore> store, TokenStore::Open(path));
  if (verify) RETURN_IF_ERROR(store->Verify());
  const TokenStoreInfo& info = store->info();
  std::string text = absl::StrFormat(
      "%s\n  format           token store, version %d, %.1f MB\n"
      "  tokens           %d (uint%d)\n  documents        %d\n",
      path, info.format_version, static_cast<double>(info.file_bytes) / 1e6, info.num_tokens,
      8 * info.token_bytes, info.num_documents);
  if (info.num_shards > 0) absl::StrAppendFormat(&text, "  shards           %d\n", info.num_shards);
  AppendDocuments(*store, &text);
  RETURN_IF_ERROR(AppendLearnt(*store, &text));
  absl::StrAppendFormat(&text, "  tokenizer        %s, %d ids, hash %s, eos %s\n",
                        info.tokenizer_kind, info.vocab_size, info.tokenizer_hash,
                        info.eos_id.has_value() ? absl::StrCat(*info.eos_id) : "none");
  absl::StrAppend(&text, "  fingerprint      ", store->fingerprint(), "\n");
  if (!info.preparation_id.empty()) {
    absl::StrAppend(&text, "  preparation      ", info.preparation_id, "\n");
  }
  RETURN_IF_ERROR(AppendSources(*store, &text));

  std::vector<int32_t> tokens(std::min(info.num_tokens, kShownTokens));
  RETURN_IF_ERROR(store->Read(0, static_cast<int64_t>(tokens.size()), tokens.data()));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, store->MakeStoreTokenizer());
  const std::string begin = absl::Utf8SafeCEscape(tokenizer->Decode(tokens));
  absl::StrAppend(&text, "  begins           \"", absl::StrReplaceAll(begin, {{"\\'", "'"}}),
                  "\"\n");
  absl::StrAppend(&text, verify ? "  verified         every checksum is right\n"
                                : "  not verified     (the tokens' checksums were not compared)\n");
  return text;
}

}  // namespace wyvern
