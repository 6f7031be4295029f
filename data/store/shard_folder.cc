#include "data/store/shard_folder.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/hdf5_file.h"
#include "data/io/json_members.h"
#include "data/store/token_store.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::Status AnotherShard(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": this is not the shard that the plan beside it means (", why,
                   "); move it away and run the same preparation again"));
}

absl::Status ReadCounts(const std::string& path, int64_t* documents, int64_t* tokens) {
  ASSIGN_OR_RETURN(const Hdf5File file, Hdf5File::OpenReadOnly(path));
  ASSIGN_OR_RETURN(*documents, file.GetInt("/", "num_documents"));
  ASSIGN_OR_RETURN(*tokens, file.GetInt("/", "num_tokens"));
  return absl::OkStatus();
}

}  // namespace

std::string ShardPath(const std::string& dir, int64_t shard) {
  return absl::StrFormat("%s/shard-%05d", dir, shard);
}

bool HasShard(const std::string& dir, int64_t shard) { return Exists(ShardPath(dir, shard)); }

std::string DescribeShard(const ShardPlan& plan, int64_t shard,
                          const std::vector<ReadFileInfo>& read, const Json& left_out) {
  Json json = {{"plan", plan.id()}, {"shard", shard}, {"parts", Json::array()}};
  const std::vector<ShardPlan::Part>& parts = plan.shards[static_cast<size_t>(shard)];
  for (size_t i = 0; i < parts.size(); ++i) {
    json["parts"].push_back({{"file", parts[i].file},
                             {"begin", parts[i].begin},
                             {"end", parts[i].end},
                             {"crc32", absl::StrFormat("%08x", read[i].crc32)}});
  }
  if (!left_out.is_null()) json["left_out"] = left_out;
  return JsonText(json);
}

absl::StatusOr<ShardInfo> ReadShardInfo(const std::string& dir, const ShardPlan& plan,
                                        int64_t shard) {
  const std::string path = ShardPath(dir, shard);
  const std::string train = path + "/train.h5", val = path + "/val.h5";
  if (!Exists(train)) return AnotherShard(path, "it holds no train.h5");
  ASSIGN_OR_RETURN(const std::string description, ReadStorePreparation(train));
  if (description.empty()) return AnotherShard(path, "it does not say what it was made from");
  ASSIGN_OR_RETURN(const Json json, ParseJson(description, train));
  const JsonMembers members(json, train);
  const absl::StatusOr<std::string> id = members.String("plan");
  if (!id.ok()) return AnotherShard(path, "it names no plan");
  if (*id != plan.id()) {
    return AnotherShard(path, absl::StrCat("it is of the plan ", *id, ", this is ", plan.id()));
  }
  ASSIGN_OR_RETURN(const int64_t number, members.Count("shard"));
  if (number != shard) return AnotherShard(path, absl::StrCat("it is shard ", number));
  ShardInfo info;
  ASSIGN_OR_RETURN(const Json* parts, members.List("parts"));
  for (size_t i = 0; i < parts->size(); ++i) {
    ASSIGN_OR_RETURN(const std::string crc32, members.At("parts", i).String("crc32"));
    info.crc32.push_back(static_cast<uint32_t>(std::strtoul(crc32.c_str(), nullptr, 16)));
  }
  if (info.crc32.size() != plan.shards[static_cast<size_t>(shard)].size()) {
    return AnotherShard(path, absl::StrCat("it is made from ", info.crc32.size(), " parts"));
  }
  RETURN_IF_ERROR(ReadCounts(train, &info.train_documents, &info.train_tokens));
  if (Exists(val)) RETURN_IF_ERROR(ReadCounts(val, &info.val_documents, &info.val_tokens));
  return info;
}

std::vector<int64_t> MissingShards(const std::string& dir, const ShardPlan& plan) {
  std::vector<int64_t> missing;
  for (int64_t shard = 0; shard < plan.num_shards(); ++shard) {
    if (!HasShard(dir, shard)) missing.push_back(shard);
  }
  return missing;
}

}  // namespace wyvern
