#include "data/store/sharded_store.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/store/shard_folder.h"
#include "data/store/shard_plan.h"
#include "data/store/token_store_format.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr size_t kNamesShown = 5;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Lets this process have so many files more than it has.
absl::Status AllowOpenFiles(size_t count) {
  constexpr rlim_t kOthers = 256;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  const rlim_t wanted = kOthers + count;
  if (limit.rlim_cur >= wanted) return absl::OkStatus();
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = std::min(std::max(wanted, before), limit.rlim_max);
  if (limit.rlim_cur >= wanted && setrlimit(RLIMIT_NOFILE, &limit) == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "a process may have ", limit.rlim_max, " files open here, and ", count, " shards need ",
      wanted, "; raise the limit (ulimit -n), or make larger shards"));
}

class ShardedStore final : public TokenStore {
 public:
  ShardedStore(std::string path, std::vector<std::shared_ptr<TokenStore>> shards,
               std::string description)
      : path_(std::move(path)), shards_(std::move(shards)), description_(std::move(description)) {}

  absl::Status Load() {
    info_ = shards_.front()->info();
    info_.num_tokens = info_.num_documents = info_.file_bytes = 0;
    info_.num_shards = static_cast<int64_t>(shards_.size());
    info_.preparation_id = token_store_format::HashText(description_);
    begins_ = {0};
    offsets_ = {0};
    for (const std::shared_ptr<TokenStore>& shard : shards_) {
      const TokenStoreInfo& first = shards_.front()->info();
      if (shard->info().tokenizer_hash != first.tokenizer_hash ||
          shard->has_learnt() != shards_.front()->has_learnt()) {
        return absl::FailedPreconditionError(
            absl::StrCat(shard->path(), ": made in another way than ", shards_.front()->path(),
                         "; move it away and run the same preparation again"));
      }
      const std::vector<int64_t> offsets = shard->MoveDocumentOffsets();
      for (size_t d = 1; d < offsets.size(); ++d) {
        offsets_.push_back(info_.num_tokens + offsets[d]);
      }
      info_.num_tokens += shard->num_tokens();
      info_.num_documents += shard->num_documents();
      info_.file_bytes += shard->info().file_bytes;
      begins_.push_back(info_.num_tokens);
    }
    return absl::OkStatus();
  }

  const std::string& path() const override { return path_; }
  const TokenStoreInfo& info() const override { return info_; }

  absl::Status Read(int64_t begin, int64_t end, int32_t* out) const override {
    return EachShard(begin, end, [&](const TokenStore& shard, int64_t from, int64_t to) {
      RETURN_IF_ERROR(shard.Read(from, to, out));
      out += to - from;
      return absl::OkStatus();
    });
  }
  bool has_learnt() const override { return shards_.front()->has_learnt(); }
  absl::Status ReadLearnt(int64_t begin, int64_t end, uint8_t* out) const override {
    return EachShard(begin, end, [&](const TokenStore& shard, int64_t from, int64_t to) {
      RETURN_IF_ERROR(shard.ReadLearnt(from, to, out));
      out += to - from;
      return absl::OkStatus();
    });
  }
  absl::Status Verify() const override {
    for (const std::shared_ptr<TokenStore>& shard : shards_) RETURN_IF_ERROR(shard->Verify());
    return absl::OkStatus();
  }

  absl::Span<const int64_t> document_offsets() const override { return offsets_; }
  std::vector<int64_t> MoveDocumentOffsets() override { return std::move(offsets_); }

  // A file that was divided is one source.
  absl::StatusOr<std::vector<std::string>> ReadSourceFiles() const override {
    std::vector<std::string> all;
    std::map<std::string, int32_t> numbers;
    RETURN_IF_ERROR(EachSource(&all, &numbers));
    return all;
  }
  absl::StatusOr<std::vector<int32_t>> ReadDocumentSources() const override {
    std::vector<std::string> all;
    std::map<std::string, int32_t> numbers;
    RETURN_IF_ERROR(EachSource(&all, &numbers));
    std::vector<int32_t> sources;
    for (const std::shared_ptr<TokenStore>& shard : shards_) {
      ASSIGN_OR_RETURN(const std::vector<std::string> files, shard->ReadSourceFiles());
      ASSIGN_OR_RETURN(const std::vector<int32_t> of_shard, shard->ReadDocumentSources());
      for (const int32_t source : of_shard) {
        if (source < 0 || source >= static_cast<int64_t>(files.size())) {
          return absl::DataLossError(absl::StrCat(shard->path(), ": a document names source ",
                                                  source, " of ", files.size()));
        }
        sources.push_back(numbers.at(files[static_cast<size_t>(source)]));
      }
    }
    return sources;
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> MakeStoreTokenizer() const override {
    return shards_.front()->MakeStoreTokenizer();
  }
  absl::StatusOr<std::string> ReadPreparation() const override { return description_; }

  std::string fingerprint() const override {
    std::string content = absl::StrCat("shards ", info_.tokenizer_hash);
    for (const std::shared_ptr<TokenStore>& shard : shards_) {
      absl::StrAppend(&content, " ", shard->fingerprint());
    }
    return token_store_format::HashText(content);
  }

 private:
  // Calls read(shard, from, to) for the tokens [begin, end), with places within each shard.
  template <typename Read>
  absl::Status EachShard(int64_t begin, int64_t end, const Read& read) const {
    CHECK(0 <= begin && begin <= end && end <= info_.num_tokens);
    size_t shard = std::upper_bound(begins_.begin(), begins_.end(), begin) - begins_.begin() - 1;
    while (begin < end) {
      const int64_t to = std::min(end, begins_[shard + 1]);
      if (begin < to) {
        RETURN_IF_ERROR(read(*shards_[shard], begin - begins_[shard], to - begins_[shard]));
      }
      begin = to;
      ++shard;
    }
    return absl::OkStatus();
  }

  absl::Status EachSource(std::vector<std::string>* all,
                          std::map<std::string, int32_t>* numbers) const {
    for (const std::shared_ptr<TokenStore>& shard : shards_) {
      ASSIGN_OR_RETURN(const std::vector<std::string> files, shard->ReadSourceFiles());
      for (const std::string& file : files) {
        if (numbers->emplace(file, static_cast<int32_t>(all->size())).second) all->push_back(file);
      }
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const std::vector<std::shared_ptr<TokenStore>> shards_;
  const std::string description_;  // of the plan
  TokenStoreInfo info_;
  std::vector<int64_t> begins_;   // [shards + 1] the first token of each
  std::vector<int64_t> offsets_;  // of all documents
};

}  // namespace

absl::StatusOr<std::shared_ptr<TokenStore>> OpenShardedStore(const std::string& dir,
                                                             const std::string& name) {
  ASSIGN_OR_RETURN(const ShardPlan plan, ReadShardPlan(dir));
  const std::vector<int64_t> missing = MissingShards(dir, plan);
  if (!missing.empty()) {
    std::vector<std::string> names;
    for (size_t i = 0; i < std::min(missing.size(), kNamesShown); ++i) {
      names.push_back(ShardPath(dir, missing[i]));
    }
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": ", missing.size(), " of ", plan.num_shards(), " shards are missing (",
                     absl::StrJoin(names, ", "), missing.size() > names.size() ? ", ..." : "",
                     "); run the same preparation again, which makes them"));
  }
  RETURN_IF_ERROR(AllowOpenFiles(static_cast<size_t>(plan.num_shards())));
  std::vector<std::shared_ptr<TokenStore>> shards;
  for (int64_t shard = 0; shard < plan.num_shards(); ++shard) {
    const std::string path = absl::StrCat(ShardPath(dir, shard), "/", name);
    RETURN_IF_ERROR(ReadShardInfo(dir, plan, shard).status());
    if (!Exists(path)) continue;  // no document of it is held out
    ASSIGN_OR_RETURN(std::shared_ptr<TokenStore> store, TokenStore::Open(path));
    shards.push_back(std::move(store));
  }
  if (shards.empty()) {
    return absl::NotFoundError(
        absl::StrCat(dir, "/", name, ": no shard of the folder has this store"));
  }
  auto store = std::make_shared<ShardedStore>(absl::StrCat(dir, "/", name), std::move(shards),
                                              plan.Description());
  RETURN_IF_ERROR(store->Load());
  return store;
}

bool ShardedStoreExists(const std::string& dir, const std::string& name) {
  const absl::StatusOr<ShardPlan> plan = ReadShardPlan(dir);
  if (!plan.ok()) return true;  // opening it says why
  for (int64_t shard = 0; shard < plan->num_shards(); ++shard) {
    if (Exists(absl::StrCat(ShardPath(dir, shard), "/", name))) return true;
  }
  return false;
}

}  // namespace wyvern
