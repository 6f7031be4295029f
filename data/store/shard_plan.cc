#include "data/store/shard_plan.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "data/io/file_stamp.h"
#include "data/io/json_members.h"
#include "data/io/output.h"
#include "data/store/made_from.h"
#include "data/store/preparation.h"
#include "data/store/token_store_format.h"
#include "data/text/file_cuts.h"
#include "data/tokenizer/tokenize.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr char kFormat[] = "wyvern shards";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxShards = 1'000'000;
constexpr double kWaitSeconds = 60;  // for another process that writes the plan

Json ContentOf(const ShardPlan& plan) {
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"options", plan.options},
               {"files", Json::array()},
               {"shards", Json::array()}};
  for (const ShardPlan::File& file : plan.files) {
    json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}});
  }
  for (const std::vector<ShardPlan::Part>& shard : plan.shards) {
    Json parts = Json::array();
    for (const ShardPlan::Part& part : shard) {
      parts.push_back(Json::array({part.file, part.begin, part.end}));
    }
    json["shards"].push_back(std::move(parts));
  }
  return json;
}

std::string TextOf(const ShardPlan& plan) {
  Json json = ContentOf(plan);
  json["id"] = plan.id();
  json["modified_ns"] = Json::array();
  for (const ShardPlan::File& file : plan.files) json["modified_ns"].push_back(file.modified_ns);
  return JsonText(json, 1) + "\n";
}

// `why` may name the file and say that it is damaged.
absl::Status Damaged(const std::string& path, absl::string_view why) {
  absl::ConsumePrefix(&why, path + ": ");
  absl::ConsumePrefix(&why, "damaged: ");
  return absl::DataLossError(absl::StrCat(
      path, ": damaged: ", why,
      "; remove this file and run the same preparation again, which keeps the shards that are "
      "whole"));
}

absl::StatusOr<ShardPlan> ParsePlan(const std::string& path, const Json& json) {
  const JsonMembers members(json, path);
  ShardPlan plan;
  ASSIGN_OR_RETURN(const Json* options, members.Object("options"));
  plan.options = *options;
  ASSIGN_OR_RETURN(const Json* files, members.List("files"));
  ASSIGN_OR_RETURN(const Json* times, members.List("modified_ns"));
  if (files->size() != times->size())
    return members.Expected("modified_ns", "a time for each file");
  for (size_t i = 0; i < files->size(); ++i) {
    const JsonMembers file = members.At("files", i);
    ShardPlan::File& added = plan.files.emplace_back();
    ASSIGN_OR_RETURN(added.name, file.String("name"));
    ASSIGN_OR_RETURN(added.bytes, file.Count("bytes"));
    const std::optional<int64_t> time = JsonInteger((*times)[i]);
    if (!time.has_value()) return members.Expected("modified_ns", "a list of integers");
    added.modified_ns = *time;
  }
  ASSIGN_OR_RETURN(const Json* shards, members.List("shards"));
  for (const Json& parts : *shards) {
    std::vector<ShardPlan::Part>& shard = plan.shards.emplace_back();
    for (const Json& part : parts) {
      const bool is_part = part.is_array() && part.size() == 3;
      const auto number = [&](size_t i) {
        return is_part ? JsonInteger(part[i]).value_or(-1) : int64_t{-1};
      };
      const ShardPlan::Part added = {number(0), number(1), number(2)};
      if (added.file < 0 || added.file >= static_cast<int64_t>(plan.files.size()) ||
          added.begin < 0 || added.begin > added.end ||
          added.end > plan.files[static_cast<size_t>(added.file)].bytes) {
        return members.Expected("shards", "lists of [file, begin, end], each within its file");
      }
      shard.push_back(added);
    }
  }
  ASSIGN_OR_RETURN(const std::string id, members.String("id"));
  if (id != plan.id()) return members.Expected("id", "the hash of the rest, " + plan.id());
  return plan;
}

}  // namespace

std::string ShardPlan::Description() const { return JsonText(ContentOf(*this)); }

std::string ShardPlan::id() const { return token_store_format::HashText(Description()); }

std::vector<TextPart> ShardPlan::PartsOf(int64_t shard,
                                         const std::vector<std::string>& paths) const {
  std::vector<TextPart> parts;
  for (const Part& part : shards[static_cast<size_t>(shard)]) {
    const auto file = static_cast<size_t>(part.file);
    const bool is_whole = part.begin == 0 && part.end == files[file].bytes;
    parts.push_back(is_whole ? TextPart{paths[file]} : TextPart{paths[file], part.begin, part.end});
  }
  return parts;
}

absl::StatusOr<ShardPlan> PlanShards(const PrepareOptions& options, const Tokenizer& tokenizer,
                                     std::vector<std::string>* paths) {
  ShardPlan plan;
  ASSIGN_OR_RETURN(plan.options, DescribeOptions(options, tokenizer));
  const LongDocuments long_documents = LongDocumentsOf(tokenizer);
  ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> source,
                   TextSource::Open(options.source, long_documents));
  if (!source->can_be_read_again()) {
    return absl::InvalidArgumentError(
        "a pipe cannot be divided into shards; write the text to a file, or make one store");
  }
  *paths = source->files();
  const DocumentOptions document_options = DocumentOptionsOf(options.source, long_documents);
  std::vector<ShardPlan::Part> shard;
  int64_t room = options.shard_bytes;
  const auto end_shard = [&] {
    plan.shards.push_back(std::exchange(shard, {}));
    room = options.shard_bytes;
  };
  for (int64_t i = 0; i < static_cast<int64_t>(paths->size()); ++i) {
    const std::string& path = (*paths)[static_cast<size_t>(i)];
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
    plan.files.push_back({NameOf(path), stamp.bytes, stamp.modified_ns});
    int64_t begin = 0;
    std::optional<FileCuts> cuts;
    while (stamp.bytes - begin > room) {
      if (!cuts.has_value()) {
        ASSIGN_OR_RETURN(cuts, FileCuts::Of(path, document_options));
      }
      ASSIGN_OR_RETURN(const int64_t cut, cuts->At(begin + room));
      if (cut >= stamp.bytes) break;
      shard.push_back({i, begin, cut});
      begin = cut;
      end_shard();
    }
    shard.push_back({i, begin, stamp.bytes});
    room -= stamp.bytes - begin;
    if (room <= 0) end_shard();
    if (plan.num_shards() > kMaxShards) {
      return absl::InvalidArgumentError(absl::StrCat("shard_bytes: ", options.shard_bytes,
                                                     " makes more than ", kMaxShards,
                                                     " shards; raise it"));
    }
  }
  if (!shard.empty()) end_shard();
  return plan;
}

std::string PlanPath(const std::string& dir) { return absl::StrCat(dir, "/shards.json"); }

bool IsShardFolder(const std::string& dir) {
  std::error_code error;
  return std::filesystem::exists(PlanPath(dir), error);
}

absl::StatusOr<ShardPlan> ReadShardPlan(const std::string& dir) {
  const std::string path = PlanPath(dir);
  ASSIGN_OR_RETURN(const std::string text, ReadJsonText(path));
  const absl::StatusOr<Json> json = ParseJson(text, path);
  if (!json.ok()) return Damaged(path, json.status().message());
  const JsonMembers members(*json, path);
  const absl::StatusOr<std::string> format = members.String("format");
  if (!format.ok() || *format != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": this is no plan of shards; move it away, or prepare into another folder"));
  }
  ASSIGN_OR_RETURN(const int64_t version, members.Count("version"));
  if (version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a plan of version ", version,
                                                   ", this program reads version ", kVersion));
  }
  absl::StatusOr<ShardPlan> plan = ParsePlan(path, *json);
  if (!plan.ok()) return Damaged(path, plan.status().message());
  return plan;
}

absl::Status WriteShardPlan(const std::string& dir, const ShardPlan& plan) {
  return WriteFileAtomically(PlanPath(dir), TextOf(plan));
}

absl::Status AddShardPlan(const std::string& dir, const ShardPlan& plan) {
  ASSIGN_OR_RETURN(Output output, Output::Claim(PlanPath(dir), kWaitSeconds));
  return IsShardFolder(dir) ? absl::OkStatus() : output.CommitFile(TextOf(plan));
}

}  // namespace wyvern
