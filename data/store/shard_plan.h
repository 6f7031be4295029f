// Which part of a text each shard of a token store holds.
//
// The plan is a function of the input and the options, so that any process on any host makes the
// same one. It lies in the shards' folder as shards.json, and ties the shards together: each names
// the plan's id in its own description.
#ifndef WYVERN_DATA_STORE_SHARD_PLAN_H_
#define WYVERN_DATA_STORE_SHARD_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/json.h"
#include "data/store/prepare.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

struct ShardPlan {
  struct File {
    std::string name;  // without folders, as descriptions have it
    int64_t bytes = 0;
    int64_t modified_ns = 0;  // no part of the id: if it is another one, the content is compared
  };
  struct Part {
    int64_t file = 0;
    int64_t begin = 0, end = 0;  // bytes of the file
  };

  nlohmann::json options;  // DescribeOptions
  std::vector<File> files;
  std::vector<std::vector<Part>> shards;  // in the order of the text

  int64_t num_shards() const { return static_cast<int64_t>(shards.size()); }
  // All but the times, in one form, and its hash of 16 digits.
  std::string Description() const;
  std::string id() const;
  // The parts of a shard, for TextSource::OpenParts. `paths`: of the files.
  std::vector<TextPart> PartsOf(int64_t shard, const std::vector<std::string>& paths) const;
};

// Divides the text into shards of options.shard_bytes bytes of files, as they lie on disk. A shard
// goes on to the end of the record, or of the Parquet row group, in which it is full, and to the
// end of a file that cannot be cut (data/text/file_cuts.h). `paths` gets the files of the plan.
// Errors: those of TextSource::Open, a pipe.
absl::StatusOr<ShardPlan> PlanShards(const PrepareOptions& options, const Tokenizer& tokenizer,
                                     std::vector<std::string>* paths);

// shards.json of a folder.
std::string PlanPath(const std::string& dir);
// Whether the folder has a plan, so that its stores are divided into shards.
bool IsShardFolder(const std::string& dir);

// Errors: NotFound; a plan that is damaged, or of another version.
absl::StatusOr<ShardPlan> ReadShardPlan(const std::string& dir);
// Puts the plan there, in the place of an old one.
absl::Status WriteShardPlan(const std::string& dir, const ShardPlan& plan);
// The same unless one is there already, which another process may be writing now.
absl::Status AddShardPlan(const std::string& dir, const ShardPlan& plan);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_SHARD_PLAN_H_
