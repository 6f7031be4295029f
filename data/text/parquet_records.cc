#ifdef WYVERN_PARQUET

#include <arrow/api.h>
#include <arrow/array/array_dict.h>
#include <parquet/arrow/reader.h>
#include <parquet/schema.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/chat/conversation_forms.h"
#include "data/io/json.h"
#include "data/io/read_buffer.h"
#include "data/io/utf8.h"
#include "data/text/parquet_file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kBatchRows = 256;
constexpr int kMaxDepth = 32;

void ThrowUnlessOk(const arrow::Status& status) {
  if (!status.ok()) throw parquet::ParquetException(status.ToString());
}

// Rows of arrays as JSON.
class JsonOfRows {
 public:
  explicit JsonOfRows(bool replace) : replace_(replace) {}

  int64_t replaced() const { return replaced_; }

  // Null for a null. Errors: a type that JSON has not; text that is not UTF-8.
  absl::StatusOr<ordered_json> Value(const arrow::Array& array, int64_t i, int depth = 0) {
    if (depth > kMaxDepth) return absl::InvalidArgumentError("nested too deeply");
    if (array.IsNull(i)) return ordered_json();
    switch (array.type_id()) {
      case arrow::Type::BOOL:
        return ordered_json(static_cast<const arrow::BooleanArray&>(array).Value(i));
      case arrow::Type::INT8:
        return Number<arrow::Int8Array>(array, i);
      case arrow::Type::INT16:
        return Number<arrow::Int16Array>(array, i);
      case arrow::Type::INT32:
        return Number<arrow::Int32Array>(array, i);
      case arrow::Type::INT64:
        return Number<arrow::Int64Array>(array, i);
      case arrow::Type::UINT8:
        return Number<arrow::UInt8Array>(array, i);
      case arrow::Type::UINT16:
        return Number<arrow::UInt16Array>(array, i);
      case arrow::Type::UINT32:
        return Number<arrow::UInt32Array>(array, i);
      case arrow::Type::UINT64:
        return Number<arrow::UInt64Array>(array, i);
      case arrow::Type::FLOAT:
        return Number<arrow::FloatArray>(array, i);
      case arrow::Type::DOUBLE:
        return Number<arrow::DoubleArray>(array, i);
      case arrow::Type::STRING:
      case arrow::Type::BINARY:
        return Text(static_cast<const arrow::BinaryArray&>(array).GetView(i));
      case arrow::Type::LARGE_STRING:
      case arrow::Type::LARGE_BINARY:
        return Text(static_cast<const arrow::LargeBinaryArray&>(array).GetView(i));
      case arrow::Type::STRING_VIEW:
      case arrow::Type::BINARY_VIEW:
        return Text(static_cast<const arrow::BinaryViewArray&>(array).GetView(i));
      case arrow::Type::LIST: {
        const auto& list = static_cast<const arrow::ListArray&>(array);
        return List(*list.values(), list.value_offset(i), list.value_length(i), depth);
      }
      case arrow::Type::LARGE_LIST: {
        const auto& list = static_cast<const arrow::LargeListArray&>(array);
        return List(*list.values(), list.value_offset(i), list.value_length(i), depth);
      }
      case arrow::Type::STRUCT:
        return Struct(static_cast<const arrow::StructArray&>(array), i, depth);
      case arrow::Type::MAP:
        return Map(static_cast<const arrow::MapArray&>(array), i, depth);
      case arrow::Type::DICTIONARY: {
        const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
        return Value(*coded.dictionary(), coded.GetValueIndex(i), depth + 1);
      }
      default:
        return absl::InvalidArgumentError(absl::StrCat("a value of type ", array.type()->ToString(),
                                                       ", which conversations do not have"));
    }
  }

 private:
  template <typename Array>
  static ordered_json Number(const arrow::Array& array, int64_t i) {
    return static_cast<const Array&>(array).Value(i);
  }

  absl::StatusOr<ordered_json> Text(std::string_view value) {
    std::string text(value);
    const size_t good = Utf8PrefixLength(text);
    if (good < text.size() && !replace_) {
      return Utf8Fault(absl::StrCat("byte ", good + 1, " of a text"), text[good]);
    }
    if (good < text.size()) replaced_ += ReplaceUtf8Faults(&text);
    return ordered_json(std::move(text));
  }

  absl::StatusOr<ordered_json> List(const arrow::Array& values, int64_t begin, int64_t length,
                                    int depth) {
    ordered_json list = ordered_json::array();
    for (int64_t i = begin; i < begin + length; ++i) {
      ASSIGN_OR_RETURN(ordered_json value, Value(values, i, depth + 1));
      list.push_back(std::move(value));
    }
    return list;
  }

  absl::StatusOr<ordered_json> Struct(const arrow::StructArray& array, int64_t i, int depth) {
    ordered_json object = ordered_json::object();
    for (int f = 0; f < array.num_fields(); ++f) {
      ASSIGN_OR_RETURN(ordered_json value, Value(*array.field(f), i, depth + 1));
      if (!value.is_null()) object[array.type()->field(f)->name()] = std::move(value);
    }
    return object;
  }

  absl::StatusOr<ordered_json> Map(const arrow::MapArray& array, int64_t i, int depth) {
    ordered_json object = ordered_json::object();
    const int64_t end = array.value_offset(i) + array.value_length(i);
    for (int64_t e = array.value_offset(i); e < end; ++e) {
      ASSIGN_OR_RETURN(const ordered_json key, Value(*array.keys(), e, depth + 1));
      ASSIGN_OR_RETURN(ordered_json value, Value(*array.items(), e, depth + 1));
      if (!key.is_string()) return absl::InvalidArgumentError("a map whose keys are no texts");
      object[key.get<std::string>()] = std::move(value);
    }
    return object;
  }

  const bool replace_;
  int64_t replaced_ = 0;
};

class ParquetRecordReader final : public DocumentReader {
 public:
  ParquetRecordReader(std::unique_ptr<ParquetFile> file, const DocumentOptions& options)
      : DocumentReader(options.on_error),
        replace_(options.invalid_utf8 == InvalidUtf8::kReplace),
        file_(std::move(file)),
        row_(file_->first_row()) {}

  absl::Status OpenColumns() {
    RETURN_IF_ERROR(
        GuardParquet(file_->path(), "; the footer is damaged, fetch the file again", [&] {
          // Arrow would read ahead in threads of its own, and processes are forked from this one.
          parquet::ArrowReaderProperties properties(/*use_threads=*/false);
          properties.set_pre_buffer(false);
          PARQUET_ASSIGN_OR_THROW(
              reader_, parquet::arrow::FileReader::Make(arrow::system_memory_pool(),
                                                        file_->TakeReader(), properties));
        }));
    const parquet::SchemaDescriptor& schema = *file_->metadata().schema();
    std::set<std::string> names, used;
    for (int i = 0; i < schema.num_columns(); ++i) {
      const std::string name = schema.GetColumnRoot(i)->name();
      names.insert(name);
      if (!IsMemberOfConversations(name)) continue;
      used.insert(name);
      columns_.push_back(i);
    }
    if (HoldsConversation(used)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        file_->path(), ": its columns hold no conversations; expected ", kConversationMembers,
        ", there ", names.empty() ? "are none" : "is: ", absl::StrJoin(names, ", ")));
  }

  absl::StatusOr<bool> Next(std::string* text, bool* ends_document) override {
    *ends_document = true;
    while (true) {
      if (batch_ == nullptr || batch_row_ == batch_->num_rows()) {
        ASSIGN_OR_RETURN(const bool found, FillBatch());
        if (!found) return false;
      }
      ++row_;
      const absl::Status taken = Take(batch_row_++, text);
      if (taken.ok()) return true;
      RETURN_IF_ERROR(LeaveOut(taken));
    }
  }
  ContentKind kind() const override { return ContentKind::kParquet; }
  const ByteStream& stream() const override { return file_->stream(); }
  int64_t line() const override { return row_; }
  int64_t position() const override { return row_ - 1; }

 private:
  // The next rows of the row group, of which all columns are in memory. False at the end.
  absl::StatusOr<bool> FillBatch() {
    batch_row_ = 0;
    while (true) {
      if (batches_ != nullptr) {
        RETURN_IF_ERROR(file_->Guard([&] { ThrowUnlessOk(batches_->ReadNext(&batch_)); }));
        if (batch_ != nullptr && batch_->num_rows() > 0) return true;
        if (batch_ != nullptr) continue;
        batches_ = nullptr;
      }
      ASSIGN_OR_RETURN(const bool found, file_->NextGroup());
      if (!found) return false;
      RETURN_IF_ERROR(file_->Guard([&] {
        PARQUET_ASSIGN_OR_THROW(table_, reader_->ReadRowGroup(file_->group() - 1, columns_));
        ThrowUnlessOk(table_->ValidateFull());
        if (table_->num_rows() != file_->metadata().RowGroup(file_->group() - 1)->num_rows()) {
          throw parquet::ParquetException("it has other rows than its header says");
        }
      }));
      RETURN_IF_ERROR(file_->SumUpTo(columns_));
      batches_ = std::make_unique<arrow::TableBatchReader>(*table_);
      batches_->set_chunksize(kBatchRows);
    }
  }

  absl::Status Take(int64_t row, std::string* text) {
    const auto fault = [this](absl::string_view what) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_->path(), ": row ", row_, " (row group ", file_->group(), "): ", what));
    };
    JsonOfRows rows(replace_);
    ordered_json record = ordered_json::object();
    for (int c = 0; c < batch_->num_columns(); ++c) {
      absl::StatusOr<ordered_json> value = rows.Value(*batch_->column(c), row);
      if (!value.ok())
        return fault(absl::StrCat(batch_->column_name(c), ": ",
                                  absl::string_view(value.status().message())));
      if (!value->is_null()) record[batch_->column_name(c)] = *std::move(value);
    }
    *text = record.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    if (text->size() > kMaxDocumentBytes) {
      return fault(absl::StrCat("the conversation is longer than ", kMaxDocumentBytes >> 20,
                                " MiB, the most that is read of one document"));
    }
    replaced_faults_ += rows.replaced();
    return absl::OkStatus();
  }

  const bool replace_;
  const std::unique_ptr<ParquetFile> file_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::vector<int> columns_;             // leaves of the schema
  std::shared_ptr<arrow::Table> table_;  // the row group
  std::unique_ptr<arrow::TableBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t batch_row_ = 0;
  int64_t row_ = 0;  // of the file, from 1
};

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> MakeParquetRecordReader(
    std::unique_ptr<ParquetFile> file, const DocumentOptions& options) {
  auto reader = std::make_unique<ParquetRecordReader>(std::move(file), options);
  RETURN_IF_ERROR(reader->OpenColumns());
  return reader;
}

}  // namespace wyvern

#endif  // WYVERN_PARQUET
