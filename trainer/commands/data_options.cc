#include "trainer/commands/data_options.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace wyvern {

std::string NameOptions(absl::string_view text) {
  constexpr std::pair<absl::string_view, absl::string_view> kOptions[] = {
      {"output_dir", "--output"},
      {"output", "--output"},
      {"field", "--field"},
      {"add_bos", "--add-bos"},
      {"document separator", "--document-separator"},
      {"document_end", "--document-end"},
      {"chat_template", "--chat-template"},
      {"val_fraction", "--val-fraction"},
      {"val_documents", "--val-documents"},
      {"num_threads", "--threads"},
      {"shard_bytes", "--shard-bytes"},
      {"workers", "--workers"},
      {"dedup", "--dedup"},
      {"vocab_size", "--vocab-size"},
      {"eos_id", "--eos"},
      {"byte_level", "--byte-level"},
      {"pattern", "--pattern"},
      {"special_tokens", "--special-token"},
      {"character_coverage", "--character-coverage"},
      {"max_sample_bytes", "--sample-bytes"}};
  std::string named(text);
  for (const auto& [field, option] : kOptions) {
    absl::string_view rest = text;
    if (!absl::ConsumePrefix(&rest, field)) continue;
    if (!absl::StartsWith(rest, ":") && !absl::StartsWith(rest, " '")) continue;
    named = absl::StrCat(option, rest);
    break;
  }
  return absl::StrReplaceAll(
      named, {{"set invalid_utf8 to 'replace'", "give --invalid-utf8 replace"},
              {"name the one with the text by 'field'", "name the one with the text by --field"},
              {"which reads its column 'field'", "which reads the column of --field"},
              {"name it by tokenizer.bos", "name it by --bos"},
              {"leave add_bos out", "leave --add-bos out"},
              {"leave dtype out", "leave --dtype out"},
              {"give its dtype (", "give it by --dtype ("},
              {"by document_separator", "by --document-separator"},
              {"by another document_separator", "by another --document-separator"},
              {"set document_separator to", "give --document-separator to"},
              {"the document_separator", "the --document-separator"},
              {"set the format to 'chat'", "give --format chat"},
              {"set the format to 'json'", "give --format json"},
              {"leave the format at 'auto'", "leave --format at auto"},
              {"by the format 'text'", "by --format text"},
              {"name the format 'raw'", "give --format raw"},
              {"name one by chat_template", "name one by --chat-template"},
              {"(train_on: last)", "(--train-on last)"},
              {"no shard_bytes is set", "no --shard-bytes is given"},
              {"and shard_bytes is set", "and --shard-bytes is given"},
              {"set shard_bytes", "give --shard-bytes"},
              {"leave shard_bytes out", "leave --shard-bytes out"},
              {"share of them instead (val_fraction)", "share of them instead (--val-fraction)"}});
}

absl::Status NameOptions(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), NameOptions(absl::string_view(status.message())));
}

}  // namespace wyvern
