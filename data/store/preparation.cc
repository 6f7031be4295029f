#include "data/store/preparation.h"

#include "absl/strings/str_cat.h"
#include "data/chat/load_chat_template.h"
#include "data/io/file_stamp.h"
#include "data/io/json.h"
#include "data/store/made_from.h"
#include "data/store/prepare_shards.h"
#include "data/store/shard_folder.h"
#include "data/store/shard_plan.h"
#include "data/store/token_store.h"
#include "data/store/token_store_format.h"
#include "data/text/text_files.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// Stores of earlier versions say nothing; their prepared.json has names and the sum of the sizes.
absl::Status CheckEarlierVersion(const PrepareOptions& options, const Tokenizer& tokenizer,
                                 const std::vector<std::string>& paths) {
  const absl::StatusOr<Json> made = ReadJsonFile(PreparedPath(options.output_dir));
  if (absl::IsNotFound(made.status())) return absl::OkStatus();
  RETURN_IF_ERROR(made.status());
  int64_t text_bytes = 0;
  Json names = Json::array();
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
    if (stamp.is_regular) text_bytes += stamp.bytes;
    names.push_back(NameOf(path));
  }
  Json wanted = {{"text_bytes", text_bytes},
                 {"names", names},
                 {"field", options.source.field},
                 {"document_separator", options.source.document_separator},
                 {"val_fraction", options.val_fraction},
                 {"val_documents", options.val_documents},
                 {"tokenizer", tokenizer.hash()}};
  if (options.source.add_bos) wanted["add_bos"] = true;
  if (!made->is_object()) return MadeOtherwise(options.output_dir, "prepared.json holds no object");
  Json found = *made;
  found["names"] = found.value("files", Json());
  const std::string difference = OptionDifference(wanted, found);
  return difference.empty() ? absl::OkStatus() : MadeOtherwise(options.output_dir, difference);
}

}  // namespace

absl::StatusOr<Json> DescribeOptions(const PrepareOptions& options, const Tokenizer& tokenizer) {
  const char* format = Name(options.source.format);
  const bool replace = options.source.invalid_utf8 == InvalidUtf8::kReplace;
  Json json = {{"field", options.source.field},
               {"document_separator", options.source.document_separator},
               {"format", format},
               {"invalid_utf8", replace ? "replace" : "error"},
               {"seed", options.seed},
               {"tokenizer", tokenizer.hash()}};
  if (options.source.format == TextFormat::kChat) {
    ASSIGN_OR_RETURN(const ChatOptions chat,
                     LoadChatTemplate(options.source.chat_template, options.tokenizer));
    std::string content = chat.source;
    for (const auto& [name, token] : chat.special_tokens) {
      absl::StrAppend(&content, "\n", name, " ", token);
    }
    json["chat_template"] = token_store_format::HashText(content);
    json["train_on"] = Name(options.source.train_on);
  }
  // Stores of earlier versions, which do not name these, have the first value of each.
  if (options.source.add_bos) json["add_bos"] = true;
  if (options.source.on_error == OnError::kSkip) json["on_error"] = "skip";
  if (options.source.dedup == Dedup::kExact) json["dedup"] = "exact";
  if (options.shard_bytes > 0) json["shard_bytes"] = options.shard_bytes;
  if (options.val_documents > 0) {
    json["val_documents"] = options.val_documents;
  } else {
    json["val_fraction"] = options.val_fraction;
  }
  return json;
}

Json DescribeLeftOut(const PrepareOptions& options, const TextInput& text) {
  Json json;
  if (options.source.on_error == OnError::kSkip) json["damaged_records"] = text.damaged_records();
  if (options.source.dedup == Dedup::kExact) json["duplicates"] = text.source().duplicates();
  return json;
}

absl::StatusOr<std::string> DescribePreparation(const PrepareOptions& options,
                                                const Tokenizer& tokenizer, const TextInput& text) {
  ASSIGN_OR_RETURN(Json json, DescribeOptions(options, tokenizer));
  const Json left_out = DescribeLeftOut(options, text);
  if (!left_out.is_null()) json["left_out"] = left_out;
  return DescribeMadeFrom(std::move(json), text.source().files(), text.source().read_files());
}

absl::Status CheckPrepared(const PrepareOptions& options, const Tokenizer& tokenizer,
                           std::vector<std::string>* notes) {
  RETURN_IF_ERROR(CheckFolderForShards(options));
  if (options.shard_bytes > 0) return CheckShards(options, tokenizer, notes);
  const std::string& dir = options.output_dir;
  ASSIGN_OR_RETURN(const TextFiles text,
                   FindTextFiles(options.source.paths, options.source.field, MissingText::kMark));
  NoteMissing(dir, text.paths, text.missing, notes);
  ASSIGN_OR_RETURN(const std::string description,
                   ReadStorePreparation(absl::StrCat(dir, "/train.h5")));
  if (description.empty()) {
    if (!text.missing.empty()) return absl::OkStatus();  // it knows the sum of the sizes alone
    return CheckEarlierVersion(options, tokenizer, text.paths);
  }
  ASSIGN_OR_RETURN(const Json json, DescribeOptions(options, tokenizer));
  return CheckMadeFrom(dir, description, json, text.paths, text.missing);
}

bool PreparedWithBos(const std::string& dir) {
  Json options;
  if (IsShardFolder(dir)) {
    const absl::StatusOr<ShardPlan> plan = ReadShardPlan(dir);
    if (plan.ok()) options = plan->options;
  } else {
    const auto description = ReadStorePreparation(absl::StrCat(dir, "/train.h5"));
    const auto parsed = ParseJson(description.value_or(""), dir);
    if (parsed.ok()) options = *parsed;
  }
  return options.is_object() && options.value("add_bos", Json()) == true;
}

}  // namespace wyvern
