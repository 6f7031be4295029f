#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/checked_column.h"
#include "data/io/hdf5_file.h"
#include "data/io/output.h"
#include "data/store/token_store.h"
#include "data/store/token_store_format.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using namespace token_store_format;

class Writer final : public TokenStoreWriter {
 public:
  Writer(Output output, Hdf5File file, int64_t vocab_size, bool is_chat)
      : output_(std::move(output)),
        file_(std::move(file)),
        vocab_size_(vocab_size),
        is_chat_(is_chat) {}

  static absl::StatusOr<std::unique_ptr<TokenStoreWriter>> Make(const std::string& path,
                                                                const Tokenizer& tokenizer,
                                                                bool is_chat) {
    ASSIGN_OR_RETURN(Output output, Output::Claim(path));
    ASSIGN_OR_RETURN(Hdf5File file, Hdf5File::Create(output.temporary()));
    auto writer = std::make_unique<Writer>(std::move(output), std::move(file),
                                           tokenizer.vocab_size(), is_chat);
    RETURN_IF_ERROR(writer->Begin(tokenizer));
    return writer;
  }

  absl::Status Begin(const Tokenizer& tokenizer) {
    RETURN_IF_ERROR(file_.SetAttribute("/", "format", std::string(kFormat)));
    RETURN_IF_ERROR(file_.SetAttribute("/", "format_version", kVersion));
    RETURN_IF_ERROR(file_.SetAttribute("/", "tokenizer_kind", tokenizer.kind()));
    RETURN_IF_ERROR(file_.SetAttribute("/", "tokenizer_hash", tokenizer.hash()));
    RETURN_IF_ERROR(file_.SetAttribute("/", "vocab_size", vocab_size_));
    RETURN_IF_ERROR(file_.SetAttribute("/", "eos_id", int64_t{tokenizer.eos_id().value_or(-1)}));
    RETURN_IF_ERROR(file_.SetAttribute("/", "block_size", kBlock));
    RETURN_IF_ERROR(AddColumn(kTokens, TokenType(vocab_size_), kBlock, &tokens_));
    if (is_chat_) RETURN_IF_ERROR(AddColumn(kLearnt, Hdf5Type::kUint8, kBlock, &learnt_));
    RETURN_IF_ERROR(AddColumn(kDocumentOffsets, Hdf5Type::kInt64, kSmallChunk, &offsets_));
    RETURN_IF_ERROR(AddColumn(kDocumentSources, Hdf5Type::kInt32, kSmallChunk, &sources_));
    RETURN_IF_ERROR(WriteText(kTokenizerModel, tokenizer.model()));
    const int64_t first = 0;
    return offsets_->Append(&first, 1);
  }

  absl::Status Append(absl::Span<const int32_t> tokens) override {
    if (!is_chat_) return AppendTokens(tokens);
    return Append(tokens, std::vector<uint8_t>(tokens.size(), 1));
  }
  absl::Status Append(absl::Span<const int32_t> tokens, absl::Span<const uint8_t> learnt) override {
    CHECK(is_chat_ && tokens.size() == learnt.size());
    RETURN_IF_ERROR(AppendTokens(tokens));
    return learnt_->Append(learnt.data(), static_cast<int64_t>(learnt.size()));
  }

  absl::Status EndDocument(int32_t source) override {
    ++num_documents_;
    max_source_ = std::max(max_source_, source);
    ended_tokens_ = num_tokens_;
    RETURN_IF_ERROR(offsets_->Append(&num_tokens_, 1));
    return sources_->Append(&source, 1);
  }

  absl::Status Complete(const std::vector<std::string>& source_files,
                        const std::string& preparation) override {
    CHECK(ended_tokens_ == num_tokens_, "tokens follow the last EndDocument");
    CHECK(max_source_ < static_cast<int64_t>(source_files.size()));
    std::string names;
    for (const std::string& name : source_files) absl::StrAppend(&names, name, "\n");
    RETURN_IF_ERROR(WriteText(kSourceFiles, names));
    if (!preparation.empty()) {
      RETURN_IF_ERROR(WriteText(kPreparation, preparation));
      RETURN_IF_ERROR(file_.SetAttribute("/", "preparation_id", HashText(preparation)));
    }
    RETURN_IF_ERROR(tokens_->Finish());
    if (is_chat_) RETURN_IF_ERROR(learnt_->Finish());
    RETURN_IF_ERROR(offsets_->Finish());
    RETURN_IF_ERROR(sources_->Finish());
    RETURN_IF_ERROR(file_.SetAttribute("/", "num_tokens", num_tokens_));
    RETURN_IF_ERROR(file_.SetAttribute("/", "num_documents", num_documents_));
    return file_.Close();
  }

  absl::Status Commit() override { return output_.Commit(); }

  int64_t num_tokens() const override { return num_tokens_; }
  int64_t num_documents() const override { return num_documents_; }

 private:
  using Column = std::unique_ptr<CheckedColumnWriter>;

  absl::Status AppendTokens(absl::Span<const int32_t> tokens) {
    for (const int32_t token : tokens) {
      if (token < 0 || token >= vocab_size_) {
        return absl::InvalidArgumentError(absl::StrCat(output_.path(), ": the token id ", token,
                                                       " is outside the vocabulary of ",
                                                       vocab_size_));
      }
    }
    num_tokens_ += static_cast<int64_t>(tokens.size());
    if (TokenType(vocab_size_) == Hdf5Type::kUint16) {
      narrow_.assign(tokens.begin(), tokens.end());
      return tokens_->Append(narrow_.data(), static_cast<int64_t>(narrow_.size()));
    }
    wide_.assign(tokens.begin(), tokens.end());
    return tokens_->Append(wide_.data(), static_cast<int64_t>(wide_.size()));
  }

  absl::Status AddColumn(const char* name, Hdf5Type type, int64_t chunk, Column* column) {
    ASSIGN_OR_RETURN(CheckedColumnWriter made,
                     CheckedColumnWriter::Create(&file_, name, type, kBlock, chunk));
    *column = std::make_unique<CheckedColumnWriter>(std::move(made));
    return absl::OkStatus();
  }
  absl::Status WriteText(const char* name, const std::string& text) {
    Column column;
    RETURN_IF_ERROR(AddColumn(name, Hdf5Type::kUint8, kSmallChunk, &column));
    RETURN_IF_ERROR(column->Append(text.data(), static_cast<int64_t>(text.size())));
    return column->Finish();
  }

  Output output_;  // outlives the file, which lies under its temporary name
  Hdf5File file_;
  const int64_t vocab_size_;
  const bool is_chat_;
  Column tokens_, offsets_, sources_;
  Column learnt_;  // of a store of conversations
  std::vector<uint16_t> narrow_;
  std::vector<uint32_t> wide_;
  int64_t num_tokens_ = 0, num_documents_ = 0, ended_tokens_ = 0;
  int32_t max_source_ = -1;
};

}  // namespace

absl::Status TokenStoreWriter::Finish(const std::vector<std::string>& source_files) {
  RETURN_IF_ERROR(Complete(source_files, /*preparation=*/""));
  return Commit();
}

absl::StatusOr<std::unique_ptr<TokenStoreWriter>> TokenStoreWriter::Create(
    const std::string& path, const Tokenizer& tokenizer) {
  return Writer::Make(path, tokenizer, /*is_chat=*/false);
}

absl::StatusOr<std::unique_ptr<TokenStoreWriter>> TokenStoreWriter::CreateForChat(
    const std::string& path, const Tokenizer& tokenizer) {
  return Writer::Make(path, tokenizer, /*is_chat=*/true);
}

}  // namespace wyvern
