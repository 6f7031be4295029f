// The shards of a folder: which are there, and what each says of itself.
#ifndef WYVERN_DATA_STORE_SHARD_FOLDER_H_
#define WYVERN_DATA_STORE_SHARD_FOLDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/store/shard_plan.h"
#include "data/text/text_source.h"

namespace wyvern {

// The folder of a shard, which appears with its stores train.h5 and, if it has held-out documents,
// val.h5: "DIR/shard-00012".
std::string ShardPath(const std::string& dir, int64_t shard);
bool HasShard(const std::string& dir, int64_t shard);

// The content of a shard.
struct ShardInfo {
  int64_t train_documents = 0, val_documents = 0;
  int64_t train_tokens = 0, val_tokens = 0;
  std::vector<uint32_t> crc32;  // of the bytes of each part
};

// The description that a shard's stores carry (TokenStoreWriter::Complete). `read`: of its parts.
std::string DescribeShard(const ShardPlan& plan, int64_t shard,
                          const std::vector<ReadFileInfo>& read, const nlohmann::json& left_out);

// Reads the headers of a shard that is there. FailedPrecondition: it is not one of this plan.
absl::StatusOr<ShardInfo> ReadShardInfo(const std::string& dir, const ShardPlan& plan,
                                        int64_t shard);

// Those that are not there.
std::vector<int64_t> MissingShards(const std::string& dir, const ShardPlan& plan);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_SHARD_FOLDER_H_
