// A plan of shards (shards.json) with the hash of the rest, as anyone could write it: what is
// accepted is written and read back as it was, and every shard has its parts.
#include "absl/strings/strip.h"
#include "data/io/json.h"
#include "data/store/shard_plan.h"
#include "tests/fuzz/scratch.h"

namespace {

// The id that the rest of a plan has, from the error that names it; empty: another error, which may
// quote anything.
std::string IdIn(const absl::Status& status, const std::string& path) {
  absl::string_view message = status.message();
  if (!absl::ConsumePrefix(&message, path + ": damaged: id: expected the hash of the rest, ")) {
    return "";
  }
  return std::string(message.substr(0, 16));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  scratch.Write("shards.json", wyvern::View(data, size));
  absl::StatusOr<wyvern::ShardPlan> plan = wyvern::ReadShardPlan(scratch.folder());
  if (!plan.ok()) {
    // No mutation meets the hash.
    const std::string id = IdIn(plan.status(), scratch.Path("shards.json"));
    if (id.empty()) return 0;
    absl::StatusOr<nlohmann::json> json =
        wyvern::ParseJson(wyvern::View(data, size), "shards.json");
    CHECK(json.ok() && json->is_object(), "a plan that was read is no object");
    (*json)["id"] = id;
    scratch.Write("shards.json", wyvern::JsonText(*json));
    plan = wyvern::ReadShardPlan(scratch.folder());
    CHECK(plan.ok(), plan.status().ToString());
  }
  std::vector<std::string> paths;
  for (const wyvern::ShardPlan::File& file : plan->files) paths.push_back(file.name);
  for (int64_t shard = 0; shard < plan->num_shards(); ++shard) {
    CHECK(plan->PartsOf(shard, paths).size() == plan->shards[static_cast<size_t>(shard)].size());
  }
  const absl::Status written = wyvern::WriteShardPlan(scratch.folder(), *plan);
  CHECK(written.ok(), written.ToString());
  const absl::StatusOr<wyvern::ShardPlan> again = wyvern::ReadShardPlan(scratch.folder());
  CHECK(again.ok(), again.status().ToString());
  CHECK(again->Description() == plan->Description(), "the plan changes when it is written again");
  return 0;
}
