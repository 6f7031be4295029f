#ifndef WYVERN_DATA_STORE_SHARDED_STORE_H_
#define WYVERN_DATA_STORE_SHARDED_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/store/token_store.h"

namespace wyvern {

// The stores `name` (train.h5 or val.h5) of a folder's shards as one, end to end in the order of
// the plan. Documents never cross from one shard to the next; samples do, as they would in one
// store. Errors: those of TokenStore::Open, a shard that is missing or of another plan, more files
// than this process may have open.
absl::StatusOr<std::shared_ptr<TokenStore>> OpenShardedStore(const std::string& dir,
                                                             const std::string& name);

// Whether any shard has such a store.
bool ShardedStoreExists(const std::string& dir, const std::string& name);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_SHARDED_STORE_H_
