#include "data/store/token_store.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "data/io/checked_column.h"
#include "data/io/hdf5_file.h"
#include "data/store/shard_folder.h"
#include "data/store/shard_plan.h"
#include "data/store/sharded_store.h"
#include "data/store/token_store_format.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using namespace token_store_format;

constexpr int64_t kMaxBlockTokens = int64_t{1} << 40;  // and documents; sums of them stay countable

// Whether the path means a store of a folder's shards, not a file.
bool IsOfShards(const std::string& path, std::string* dir, std::string* name) {
  const std::filesystem::path file(path);
  std::error_code error;
  *name = file.filename().string();
  *dir = file.has_parent_path() ? file.parent_path().string() : ".";
  return (*name == "train.h5" || *name == "val.h5") && !std::filesystem::exists(file, error) &&
         IsShardFolder(*dir);
}

class Store final : public TokenStore {
 public:
  explicit Store(Hdf5File file) : file_(std::move(file)) {}

  absl::Status Load() {
    RETURN_IF_ERROR(LoadHeader());
    const Hdf5Type token_type = TokenType(info_.vocab_size);
    info_.token_bytes = Hdf5TypeBytes(token_type);
    RETURN_IF_ERROR(OpenColumn(kTokens, token_type, &tokens_));
    RETURN_IF_ERROR(OpenColumn(kDocumentOffsets, Hdf5Type::kInt64, &offset_column_));
    RETURN_IF_ERROR(OpenColumn(kDocumentSources, Hdf5Type::kInt32, &sources_));
    RETURN_IF_ERROR(OpenColumn(kSourceFiles, Hdf5Type::kUint8, &source_files_));
    RETURN_IF_ERROR(OpenColumn(kTokenizerModel, Hdf5Type::kUint8, &model_));
    if (file_.Exists(kLearnt)) RETURN_IF_ERROR(OpenColumn(kLearnt, Hdf5Type::kUint8, &learnt_));
    if (file_.Exists(kPreparation)) {
      RETURN_IF_ERROR(OpenColumn(kPreparation, Hdf5Type::kUint8, &preparation_));
      ASSIGN_OR_RETURN(info_.preparation_id, file_.GetString("/", "preparation_id"));
    }
    if (tokens_->size() != info_.num_tokens || sources_->size() != info_.num_documents ||
        offset_column_->size() != info_.num_documents + 1 ||
        (learnt_ != nullptr && learnt_->size() != info_.num_tokens)) {
      return Damaged("the datasets do not have the sizes that the header gives");
    }
    offsets_.resize(offset_column_->size());
    RETURN_IF_ERROR(offset_column_->Read(0, offset_column_->size(), offsets_.data()));
    if (offsets_.front() != 0 || offsets_.back() != info_.num_tokens ||
        !std::is_sorted(offsets_.begin(), offsets_.end())) {
      return Damaged("document_offsets does not rise from 0 to the number of tokens");
    }
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path(), error);
    if (!error) info_.file_bytes = static_cast<int64_t>(bytes);
    return absl::OkStatus();
  }

  const std::string& path() const override { return file_.path(); }
  const TokenStoreInfo& info() const override { return info_; }

  absl::Status Read(int64_t begin, int64_t end, int32_t* out) const override {
    return info_.token_bytes == 2 ? ReadAs<uint16_t>(begin, end, out)
                                  : ReadAs<uint32_t>(begin, end, out);
  }

  bool has_learnt() const override { return learnt_ != nullptr; }

  absl::Status ReadLearnt(int64_t begin, int64_t end, uint8_t* out) const override {
    if (learnt_ == nullptr) {
      std::fill(out, out + (end - begin), uint8_t{1});
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(learnt_->Read(begin, end, out));
    const uint8_t* wrong = std::find_if(out, out + (end - begin), [](uint8_t l) { return l > 1; });
    if (wrong == out + (end - begin)) return absl::OkStatus();
    return Damaged(absl::StrCat("learnt of token ", begin + (wrong - out), " is ",
                                static_cast<int>(*wrong), ", neither 0 nor 1"));
  }

  absl::Status Verify() const override {
    for (const auto* column : {&tokens_, &offset_column_, &sources_, &source_files_, &model_}) {
      RETURN_IF_ERROR((*column)->Verify());
    }
    if (preparation_ != nullptr) RETURN_IF_ERROR(preparation_->Verify());
    if (learnt_ != nullptr) RETURN_IF_ERROR(learnt_->Verify());
    ASSIGN_OR_RETURN(const std::vector<std::string> files, ReadSourceFiles());
    ASSIGN_OR_RETURN(const std::vector<int32_t> sources, ReadDocumentSources());
    for (const int32_t source : sources) {
      if (source < 0 || source >= static_cast<int64_t>(files.size())) {
        return Damaged(absl::StrCat("a document names source ", source, " of ", files.size()));
      }
    }
    std::vector<int32_t> block(info_.block_tokens);
    std::vector<uint8_t> learnt(info_.block_tokens);
    for (int64_t begin = 0; begin < info_.num_tokens; begin += info_.block_tokens) {
      const int64_t end = std::min(begin + info_.block_tokens, info_.num_tokens);
      RETURN_IF_ERROR(Read(begin, end, block.data()));
      RETURN_IF_ERROR(ReadLearnt(begin, end, learnt.data()));
    }
    ASSIGN_OR_RETURN(const std::string preparation, ReadPreparation());
    if (!preparation.empty() && HashText(preparation) != info_.preparation_id) {
      return Damaged("preparation_id is not that of the preparation");
    }
    return MakeStoreTokenizer().status();
  }

  absl::Span<const int64_t> document_offsets() const override { return offsets_; }
  std::vector<int64_t> MoveDocumentOffsets() override { return std::move(offsets_); }

  absl::StatusOr<std::vector<std::string>> ReadSourceFiles() const override {
    ASSIGN_OR_RETURN(const std::string names, ReadText(*source_files_));
    std::vector<std::string> files = absl::StrSplit(names, '\n');
    files.pop_back();  // every name ends in a newline
    return files;
  }

  absl::StatusOr<std::vector<int32_t>> ReadDocumentSources() const override {
    std::vector<int32_t> sources(sources_->size());
    RETURN_IF_ERROR(sources_->Read(0, sources_->size(), sources.data()));
    return sources;
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> MakeStoreTokenizer() const override {
    ASSIGN_OR_RETURN(const std::string model, ReadText(*model_));
    ASSIGN_OR_RETURN(
        std::unique_ptr<Tokenizer> tokenizer,
        MakeTokenizer(info_.tokenizer_kind, model, absl::StrCat(path(), ": ", kTokenizerModel)));
    RETURN_IF_ERROR(CheckTokenizer(*tokenizer));
    return tokenizer;
  }

  absl::StatusOr<std::string> ReadPreparation() const override {
    if (preparation_ == nullptr) return "";
    return ReadText(*preparation_);
  }

  std::string fingerprint() const override {
    std::string content =
        absl::StrCat(info_.tokenizer_hash, " ", info_.num_tokens, " ", info_.num_documents);
    for (const auto* column : {&tokens_, &offset_column_}) {
      for (const uint32_t checksum : (*column)->checksums())
        absl::StrAppend(&content, " ", checksum);
    }
    if (learnt_ != nullptr) {
      absl::StrAppend(&content, " learnt");
      for (const uint32_t checksum : learnt_->checksums()) absl::StrAppend(&content, " ", checksum);
    }
    return HashText(content);
  }

 private:
  using Column = std::unique_ptr<CheckedColumn>;

  absl::Status Damaged(const std::string& what) const {
    return absl::DataLossError(
        absl::StrCat(path(), ": ", what, "; restore the file or prepare it again"));
  }

  absl::Status LoadHeader() {
    const absl::StatusOr<std::string> format = file_.GetString("/", "format");
    if (!format.ok() || *format != kFormat) {
      return absl::InvalidArgumentError(absl::StrCat(
          path(), ": an HDF5 file, but not a token store; make one with wyvern data prepare"));
    }
    ASSIGN_OR_RETURN(info_.format_version, file_.GetInt("/", "format_version"));
    if (info_.format_version != kVersion) {
      return absl::InvalidArgumentError(absl::StrCat(path(), ": token store of version ",
                                                     info_.format_version,
                                                     ", this program reads version ", kVersion));
    }
    ASSIGN_OR_RETURN(info_.tokenizer_kind, file_.GetString("/", "tokenizer_kind"));
    ASSIGN_OR_RETURN(info_.tokenizer_hash, file_.GetString("/", "tokenizer_hash"));
    ASSIGN_OR_RETURN(info_.vocab_size, file_.GetInt("/", "vocab_size"));
    ASSIGN_OR_RETURN(info_.block_tokens, file_.GetInt("/", "block_size"));
    ASSIGN_OR_RETURN(info_.num_tokens, file_.GetInt("/", "num_tokens"));
    ASSIGN_OR_RETURN(info_.num_documents, file_.GetInt("/", "num_documents"));
    ASSIGN_OR_RETURN(const int64_t eos_id, file_.GetInt("/", "eos_id"));
    if (eos_id >= 0) info_.eos_id = static_cast<int32_t>(eos_id);
    if (info_.vocab_size <= 0 || info_.vocab_size > INT32_MAX || info_.block_tokens <= 0 ||
        info_.block_tokens > kMaxBlockTokens || info_.num_documents < 0 ||
        info_.num_documents > kMaxBlockTokens || eos_id >= info_.vocab_size) {
      return Damaged("the header's numbers make no sense");
    }
    return absl::OkStatus();
  }

  absl::Status OpenColumn(const char* name, Hdf5Type type, Column* column) {
    ASSIGN_OR_RETURN(*column, CheckedColumn::Open(&file_, name, type, info_.block_tokens));
    return absl::OkStatus();
  }

  static absl::StatusOr<std::string> ReadText(const CheckedColumn& column) {
    std::string text(column.size(), '\0');
    RETURN_IF_ERROR(column.Read(0, column.size(), text.data()));
    return text;
  }

  template <typename T>
  absl::Status ReadAs(int64_t begin, int64_t end, int32_t* out) const {
    CHECK(begin <= end);
    std::vector<T> stored(end - begin);
    RETURN_IF_ERROR(tokens_->Read(begin, end, stored.data()));
    for (size_t i = 0; i < stored.size(); ++i) {
      if (stored[i] >= info_.vocab_size) {
        return Damaged(absl::StrCat("token ", begin + static_cast<int64_t>(i), " has the id ",
                                    stored[i], ", beyond the vocabulary of ", info_.vocab_size));
      }
      out[i] = static_cast<int32_t>(stored[i]);
    }
    return absl::OkStatus();
  }

  Hdf5File file_;
  TokenStoreInfo info_;
  Column tokens_, offset_column_, sources_, source_files_, model_;
  Column learnt_, preparation_;  // null: the store has none
  std::vector<int64_t> offsets_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<TokenStore>> TokenStore::Open(const std::string& path) {
  const Operation opening(absl::StrCat("opening the token store ", path));
  if (std::string dir, name; IsOfShards(path, &dir, &name)) return OpenShardedStore(dir, name);
  ASSIGN_OR_RETURN(Hdf5File file, Hdf5File::OpenReadOnly(path));
  auto store = std::make_shared<Store>(std::move(file));
  RETURN_IF_ERROR(store->Load());
  return store;
}

bool StoreExists(const std::string& path) {
  if (std::string dir, name; IsOfShards(path, &dir, &name)) return ShardedStoreExists(dir, name);
  std::error_code error;
  return std::filesystem::exists(path, error);
}

bool IsStoreWhole(const std::string& path) {
  if (std::string dir, name; IsOfShards(path, &dir, &name)) {
    const absl::StatusOr<ShardPlan> plan = ReadShardPlan(dir);
    return plan.ok() && MissingShards(dir, *plan).empty() && ShardedStoreExists(dir, name);
  }
  return StoreExists(path);
}

absl::StatusOr<std::string> ReadStorePreparation(const std::string& path) {
  ASSIGN_OR_RETURN(Hdf5File file, Hdf5File::OpenReadOnly(path));
  if (!file.Exists(kPreparation)) return "";
  ASSIGN_OR_RETURN(const int64_t block, file.GetInt("/", "block_size"));
  if (block <= 0) return absl::DataLossError(absl::StrCat(path, ": block_size is ", block));
  ASSIGN_OR_RETURN(const std::unique_ptr<CheckedColumn> column,
                   CheckedColumn::Open(&file, kPreparation, Hdf5Type::kUint8, block));
  std::string text(column->size(), '\0');
  RETURN_IF_ERROR(column->Read(0, column->size(), text.data()));
  return text;
}

absl::Status TokenStore::CheckSamePreparation(const TokenStore& other) const {
  if (info().preparation_id == other.info().preparation_id) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      path(), " and ", other.path(),
      ": these were made by two preparations, so documents held out by one may be in the other; "
      "remove both and prepare them again"));
}

int64_t TokenStore::DocumentAt(int64_t token) const {
  CHECK(0 <= token && token < num_tokens());
  const absl::Span<const int64_t> offsets = document_offsets();
  return std::upper_bound(offsets.begin(), offsets.end(), token) - offsets.begin() - 1;
}

absl::Status TokenStore::CheckTokenizer(const Tokenizer& tokenizer) const {
  if (tokenizer.hash() == info().tokenizer_hash && tokenizer.vocab_size() == info().vocab_size) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      path(), ": made with a ", info().tokenizer_kind, " tokenizer of ", info().vocab_size,
      " ids and hash ", info().tokenizer_hash, ", but this ", tokenizer.kind(), " tokenizer has ",
      tokenizer.vocab_size(), " ids and hash ", tokenizer.hash(),
      "; prepare the data again with this tokenizer, or name the store's own"));
}

}  // namespace wyvern
