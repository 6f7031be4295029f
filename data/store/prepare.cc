#include "data/store/prepare.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/store/check_outputs.h"
#include "data/store/made_from.h"
#include "data/store/preparation.h"
#include "data/store/prepare_shards.h"
#include "data/store/text_input.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/status.h"

namespace wyvern {

absl::StatusOr<PrepareResult> PrepareStore(const PrepareOptions& options) {
  const SplitOptions split = {.output_dir = options.output_dir,
                              .val_fraction = options.val_fraction,
                              .val_documents = options.val_documents,
                              .seed = options.seed};
  RETURN_IF_ERROR(Validate(split));
  RETURN_IF_ERROR(CheckFolderForShards(options));
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: expected at least 0 (0: every core), got ", options.num_threads));
  }
  const bool is_chat = options.source.format == TextFormat::kChat;
  if (!is_chat && !options.source.chat_template.empty()) {
    return absl::InvalidArgumentError(
        "chat_template: has no effect on text; set the format to 'chat', or leave it out");
  }
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   LoadTokenizer(options.tokenizer, options.tokenizer_settings));
  if (options.source.add_bos && !tokenizer->bos_id().has_value()) {
    const bool is_named = tokenizer->kind() == "tokenizer.json" || tokenizer->kind() == "tiktoken";
    return absl::InvalidArgumentError(absl::StrCat(
        "add_bos: the tokenizer ", options.tokenizer, " has no bos; ",
        is_named ? "name it by tokenizer.bos, or leave add_bos out" : "leave add_bos out"));
  }
  if (options.shard_bytes > 0) return PrepareShards(options, *tokenizer);
  TextInput text(options, *tokenizer, /*parts=*/nullptr);
  RETURN_IF_ERROR(text.Open());
  RETURN_IF_ERROR(CheckStoreOutputs(options.output_dir, text.source().files()));
  ASSIGN_OR_RETURN(const std::unique_ptr<SplitStores> stores, Split(split, *tokenizer, &text));
  if (stores->num_documents() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("no text in ",
                                                   absl::StrJoin(options.source.paths, ", "),
                                                   ": the files are empty or blank"));
  }
  const TextSource& source = text.source();
  ASSIGN_OR_RETURN(const std::string description, DescribePreparation(options, *tokenizer, text));
  PrepareResult result;
  ASSIGN_OR_RETURN(static_cast<SplitResult&>(result),
                   stores->CommitPrepared(source.files(), description, source.read_files()));
  result.text_bytes = text.text_bytes();
  result.notes = text.Notes();
  result.has_separator = !options.source.document_separator.empty();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.megabytes_per_second = static_cast<double>(result.text_bytes) / 1e6 / result.seconds;
  result.tokens_per_second =
      static_cast<double>(result.train_tokens + result.val_tokens) / result.seconds;
  return result;
}

std::string PrepareResult::ToString() const {
  std::string text = StoresText(absl::StrCat(
      ": the text is one document", has_separator ? "" : "; set document_separator to divide it"));
  if (num_shards > 0) absl::StrAppendFormat(&text, "%d shards\n", num_shards);
  if (num_shards == 0) {
    absl::StrAppendFormat(&text, "%.1f MB of text in %.1f s: %.1f MB/s, %.0f tokens/s\n",
                          static_cast<double>(text_bytes) / 1e6, seconds, megabytes_per_second,
                          tokens_per_second);
  }
  for (const std::string& note : notes) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

}  // namespace wyvern
