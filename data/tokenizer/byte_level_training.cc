#include "data/tokenizer/byte_level_training.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/utf8.h"
#include "data/tokenizer/bpe_trainer.h"
#include "data/tokenizer/json_part.h"
#include "data/tokenizer/named_patterns.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "data/tokenizer/tokenize.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using nlohmann::ordered_json;
using PieceCounts = absl::flat_hash_map<std::string, int64_t>;

ordered_json ByteLevelPart(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

// The part "pre_tokenizer". ByteLevel itself divides as GPT-2 does.
ordered_json PreTokenizerPart(const std::string& pattern) {
  if (pattern == "gpt2") return ByteLevelPart(false, true);
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern", {{"Regex", std::string(*FindNamedPattern(pattern))}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            ByteLevelPart(false, false)}}};
}

// The patterns by which a part "pre_tokenizer" divides text, one after another.
void AddPatterns(const nlohmann::json& part, std::vector<std::string>* patterns) {
  const auto member = [&part](const char* name) {
    return part.is_object() ? part.value(name, nlohmann::json()) : nlohmann::json();
  };
  const nlohmann::json type = member("type");
  if (type == "Sequence" && member("pretokenizers").is_array()) {
    for (const nlohmann::json& step : member("pretokenizers")) AddPatterns(step, patterns);
  } else if (type == "Split") {
    patterns->push_back(JsonText(member("pattern")));
  } else if (type == "ByteLevel" && member("use_regex") != false) {
    patterns->push_back(JsonText({{"Regex", std::string(*FindNamedPattern("gpt2"))}}));
  }
}

void Count(const std::string& document, const PreTokenization& pre_tokenization,
           PieceCounts* counts) {
  if (document.empty()) return;
  Pieces pieces(document, /*at_text_begin=*/true);
  for (const auto& step : pre_tokenization.steps) step->Apply(&pieces);
  for (size_t i = 0; i < pieces.ranges().size(); ++i) ++(*counts)[pieces.piece(i)];
}

// The different pieces of all documents, sorted by their bytes.
absl::StatusOr<std::vector<CountedPiece>> CountPieces(const std::vector<std::string>& documents,
                                                      const PreTokenization& pre_tokenization,
                                                      int num_threads) {
  const auto size = static_cast<size_t>(num_threads);
  std::vector<PieceCounts> counts(size);
  std::vector<absl::Status> statuses(size);
  std::atomic<size_t> next{0};
  const auto work = [&](size_t worker) {
    statuses[worker] = CatchAll([&] {
      for (size_t i; (i = next++) < documents.size();) {
        Count(documents[i], pre_tokenization, &counts[worker]);
      }
      return absl::OkStatus();
    });
  };
  std::vector<std::thread> threads;
  const absl::Status started = CatchAll([&] {
    for (size_t worker = 1; worker < size; ++worker) threads.emplace_back(work, worker);
    return absl::OkStatus();
  });
  work(0);  // does all of it where the system has no more threads
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  for (size_t worker = 1; worker < size; ++worker) {
    for (const auto& [piece, count] : counts[worker]) counts[0][piece] += count;
    counts[worker] = {};
  }
  std::vector<CountedPiece> pieces;
  pieces.reserve(counts[0].size());
  for (const auto& [piece, count] : counts[0]) pieces.push_back({piece, count});
  std::sort(pieces.begin(), pieces.end(),
            [](const CountedPiece& a, const CountedPiece& b) { return a.bytes < b.bytes; });
  return pieces;
}

std::string TokenizerJson(const TrainedBpe& trained, const ByteLevelOptions& options) {
  ordered_json added = ordered_json::array();
  for (const std::string& token : options.SpecialTokens()) {
    added.push_back({{"id", added.size()},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  // Its members are appended: to look each of them up would take a time of order n^2.
  ordered_json::object_t vocabulary;
  for (const std::string& token : trained.tokens) {
    vocabulary.push_back({token, vocabulary.size()});
  }
  ordered_json merges = ordered_json::array();
  for (const auto& [left, right] : trained.merges) {
    merges.push_back(
        {trained.tokens[static_cast<size_t>(left)], trained.tokens[static_cast<size_t>(right)]});
  }
  const ordered_json tokenizer = {{"version", "1.0"},
                                  {"truncation", nullptr},
                                  {"padding", nullptr},
                                  {"added_tokens", std::move(added)},
                                  {"normalizer", nullptr},
                                  {"pre_tokenizer", PreTokenizerPart(options.pattern)},
                                  {"post_processor", nullptr},
                                  {"decoder", ByteLevelPart(true, true)},
                                  {"model",
                                   {{"type", "BPE"},
                                    {"dropout", nullptr},
                                    {"unk_token", nullptr},
                                    {"continuing_subword_prefix", nullptr},
                                    {"end_of_word_suffix", nullptr},
                                    {"fuse_unk", false},
                                    {"byte_fallback", false},
                                    {"ignore_merges", false},
                                    {"vocab", std::move(vocabulary)},
                                    {"merges", std::move(merges)}}}};
  return tokenizer.dump(2);
}

}  // namespace

std::vector<std::string> ByteLevelOptions::SpecialTokens() const {
  std::vector<std::string> tokens;
  for (const std::string* const token : {&bos, &eos, &pad}) {
    if (!token->empty()) tokens.push_back(*token);
  }
  tokens.insert(tokens.end(), specials.begin(), specials.end());
  return tokens;
}

absl::Status ByteLevelOptions::Validate() const {
  if (!FindNamedPattern(pattern).has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("pattern: expected one of ", NamedPatternNames(), ", got '", pattern, "'"));
  }
  std::set<std::string> known;
  for (const std::string& token : SpecialTokens()) {
    if (token.empty()) {
      return absl::InvalidArgumentError("special_tokens: expected texts, one of them is empty");
    }
    if (Utf8PrefixLength(token) != token.size()) {
      return absl::InvalidArgumentError("special_tokens: expected UTF-8 without zero bytes");
    }
    if (!known.insert(token).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("special_tokens: '", token, "' is there twice, or is bos, eos or pad"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TrainByteLevel(const std::vector<std::string>& documents,
                                           int64_t vocab_size, const ByteLevelOptions& options,
                                           int num_threads) {
  RETURN_IF_ERROR(options.Validate());
  const std::vector<std::string> specials = options.SpecialTokens();
  const int64_t fewest = 256 + static_cast<int64_t>(specials.size());
  if (vocab_size <= fewest) {
    return absl::InvalidArgumentError(absl::StrCat("vocab_size: expected more than ", fewest,
                                                   " (256 bytes and ", specials.size(),
                                                   " special tokens), got ", vocab_size));
  }
  const nlohmann::json part = nlohmann::json::parse(PreTokenizerPart(options.pattern).dump());
  ASSIGN_OR_RETURN(const PreTokenization pre_tokenization,
                   MakePreTokenization(JsonPart(part, "tokenizer.json", "pre_tokenizer")));
  ASSIGN_OR_RETURN(const std::vector<CountedPiece> pieces,
                   CountPieces(documents, pre_tokenization, ThreadCount(num_threads)));
  const TrainedBpe trained = TrainBpe(pieces, specials, vocab_size);
  if (static_cast<int64_t>(trained.tokens.size()) < vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "vocab_size: the text gives only ", trained.tokens.size(),
        " tokens, as every piece of it is one; lower ", vocab_size, " or give more text"));
  }
  return TokenizerJson(trained, options);
}

absl::StatusOr<bool> DividesBy(const std::string& tokenizer_json, const std::string& pattern) {
  ASSIGN_OR_RETURN(const nlohmann::json tokenizer, ParseJson(tokenizer_json, "tokenizer.json"));
  std::vector<std::string> wanted, found;
  AddPatterns(nlohmann::json::parse(PreTokenizerPart(pattern).dump()), &wanted);
  if (tokenizer.is_object())
    AddPatterns(tokenizer.value("pre_tokenizer", nlohmann::json()), &found);
  return found == wanted;
}

std::string ByteLevelConfig(const ByteLevelOptions& options) {
  const auto text_or_null = [](const std::string& token) {
    return token.empty() ? ordered_json() : ordered_json(token);
  };
  const ordered_json config = {{"bos_token", text_or_null(options.bos)},
                               {"clean_up_tokenization_spaces", false},
                               {"eos_token", text_or_null(options.eos)},
                               {"pad_token", text_or_null(options.pad)},
                               {"tokenizer_class", "PreTrainedTokenizerFast"}};
  return absl::StrCat(config.dump(2), "\n");
}

}  // namespace wyvern
