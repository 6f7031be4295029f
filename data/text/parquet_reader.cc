#include "data/text/parquet_reader.h"

#include "absl/strings/str_cat.h"

#ifdef WYVERN_PARQUET
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <parquet/column_reader.h>
#include <parquet/schema.h>
#include <parquet/types.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "data/io/file_stamp.h"
#include "data/io/read_buffer.h"
#include "data/io/utf8.h"
#include "data/text/parquet_file.h"
#include "kernels/runtime/status.h"
#endif

namespace wyvern {

absl::Status EncryptedParquet(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": this is a Parquet file whose footer is encrypted (it has the magic ",
      kEncryptedParquetMagic, "), and no key is known here; write it again without encryption"));
}

#ifdef WYVERN_PARQUET
namespace {

constexpr size_t kNamesShown = 30;
constexpr int64_t kBatchRows = 256;

std::string NamesOf(std::vector<std::string> names) {
  const size_t others = names.size() - std::min(names.size(), kNamesShown);
  names.resize(names.size() - others);
  return absl::StrCat(absl::StrJoin(names, ", "),
                      others > 0 ? absl::StrCat(" and ", others, " more") : "");
}

absl::Status CheckType(const std::string& path, const std::string& field,
                       const parquet::ColumnDescriptor& column) {
  const auto& logical = column.logical_type();
  const bool is_text = column.physical_type() == parquet::Type::BYTE_ARRAY &&
                       (logical == nullptr || logical->is_none() || logical->is_string() ||
                        logical->is_JSON() || logical->is_enum());
  if (!is_text) {
    const std::string type = logical == nullptr || logical->is_none()
                                 ? parquet::TypeToString(column.physical_type())
                                 : logical->ToString();
    return absl::InvalidArgumentError(absl::StrCat(path, ": the column '", field, "' is of type ",
                                                   type, "; expected strings, or UTF-8 as bytes"));
  }
  if (column.max_repetition_level() > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the column '", field,
                     "' lies in a list, of several values a row; expected one text a row"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> FindColumn(const std::string& path, const std::string& field,
                               const parquet::SchemaDescriptor& schema) {
  std::vector<std::string> readable, inside;  // columns that CheckType takes
  int found = -1;
  bool is_nested = false;
  for (int i = 0; i < schema.num_columns(); ++i) {
    const std::string name = schema.Column(i)->path()->ToDotString();
    if (name == field && found >= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": it has two columns '", field,
                       "', so which one holds the text is not known; rename one of them"));
    }
    if (name == field) found = i;
    const bool is_inside = absl::StartsWith(name, field + ".");
    is_nested |= is_inside;
    if (!CheckType(path, name, *schema.Column(i)).ok()) continue;
    readable.push_back(name);
    if (is_inside) inside.push_back(name);
  }
  if (found >= 0) {
    RETURN_IF_ERROR(CheckType(path, field, *schema.Column(found)));
    return found;
  }
  if (is_nested) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": the column '", field, "' is nested; ",
        inside.empty() ? "no column inside of it holds one text a row"
                       : absl::StrCat("name a column inside of it: ", NamesOf(inside))));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": no column '", field, "'; ",
                   schema.num_columns() == 0 ? "it has no columns"
                   : readable.empty()        ? "none of its columns holds one text a row"
                                             : absl::StrCat("there is: ", NamesOf(readable),
                                                            "; name the one with the text by 'field'")));
}

class ParquetReader final : public DocumentReader {
 public:
  ParquetReader(std::unique_ptr<ParquetFile> file, const DocumentOptions& options)
      : DocumentReader(options.on_error),
        field_(options.field),
        replace_(options.invalid_utf8 == InvalidUtf8::kReplace),
        file_(std::move(file)),
        row_(file_->first_row()) {}

  absl::Status OpenColumn() {
    absl::StatusOr<int> column;
    RETURN_IF_ERROR(GuardParquet(path(), "; the footer is damaged, fetch the file again", [&] {
      column = FindColumn(path(), field_, *file_->metadata().schema());
    }));
    RETURN_IF_ERROR(column.status());
    column_ = *column;
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Next(std::string* text, bool* ends_document) override {
    *ends_document = true;
    while (true) {
      if (batch_row_ == batch_rows_) {
        ASSIGN_OR_RETURN(const bool found, FillBatch());
        if (!found) return false;
      }
      ++row_;
      if (levels_[static_cast<size_t>(batch_row_++)] < max_level_) {
        ++nulls_;
        continue;
      }
      const parquet::ByteArray& value = values_[static_cast<size_t>(value_++)];
      const absl::string_view bytes(reinterpret_cast<const char*>(value.ptr), value.len);
      const absl::Status taken = Take(bytes, text);
      if (!taken.ok()) {
        RETURN_IF_ERROR(LeaveOut(taken));
        continue;
      }
      if (!IsBlank(*text)) return true;
    }
  }
  ContentKind kind() const override { return ContentKind::kParquet; }
  const ByteStream& stream() const override { return file_->stream(); }
  int64_t position() const override { return row_ - 1; }
  int64_t nulls() const override { return nulls_; }

 private:
  const std::string& path() const { return file_->path(); }

  // The next rows of the column, whose values hold until the next call. False at the end.
  absl::StatusOr<bool> FillBatch() {
    batch_row_ = batch_rows_ = value_ = 0;
    while (batch_rows_ == 0) {
      if (reader_ == nullptr) {
        ASSIGN_OR_RETURN(const bool found, file_->NextGroup());
        if (!found) return false;
        RETURN_IF_ERROR(file_->Guard([&] { OpenGroup(); }));
        RETURN_IF_ERROR(file_->SumUpTo({column_}));
      }
      int64_t values = 0;
      RETURN_IF_ERROR(file_->Guard([&] {
        if (!reader_->HasNext()) return;
        batch_rows_ =
            reader_->ReadBatch(kBatchRows, levels_.data(), nullptr, values_.data(), &values);
      }));
      if (max_level_ == 0) std::fill_n(levels_.begin(), batch_rows_, int16_t{0});
      if (values != std::count(levels_.begin(), levels_.begin() + batch_rows_, max_level_)) {
        return file_->Damaged("values are missing");
      }
      group_rows_ -= batch_rows_;
      if (batch_rows_ > 0) continue;
      if (group_rows_ != 0) {
        return file_->Damaged(absl::StrCat("it has ", group_rows_ < 0 ? "more" : "fewer",
                                           " rows than its header says"));
      }
      reader_ = nullptr;
    }
    return true;
  }

  void OpenGroup() {
    const std::shared_ptr<parquet::RowGroupReader> group = file_->OpenGroup();
    group_rows_ = group->metadata()->num_rows();
    reader_ = std::dynamic_pointer_cast<parquet::ByteArrayReader>(group->Column(column_));
    if (reader_ == nullptr) throw parquet::ParquetException("its column is of another type");
    max_level_ = file_->metadata().schema()->Column(column_)->max_definition_level();
  }

  absl::Status Take(absl::string_view bytes, std::string* text) {
    const std::string where =
        absl::StrCat(path(), ": row ", row_, " (row group ", file_->group(), ")");
    if (bytes.size() > kMaxDocumentBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": the text is longer than ", kMaxDocumentBytes >> 20,
                       " MiB, the most that is read of one document"));
    }
    const size_t good = Utf8PrefixLength(bytes);
    if (good < bytes.size() && !replace_) {
      return Utf8Fault(absl::StrCat(where, ": byte ", good + 1), bytes[good]);
    }
    text->assign(bytes.data(), bytes.size());
    if (good < bytes.size()) replaced_faults_ += ReplaceUtf8Faults(text);
    return absl::OkStatus();
  }

  const std::string field_;
  const bool replace_;
  const std::unique_ptr<ParquetFile> file_;
  int column_ = 0;
  int64_t group_rows_ = 0;                            // of the row group, not yet read
  int16_t max_level_ = 0;                             // a lower definition level is a null
  std::shared_ptr<parquet::ByteArrayReader> reader_;  // null: the next row group is to be opened
  std::array<int16_t, kBatchRows> levels_;
  std::array<parquet::ByteArray, kBatchRows> values_;
  int64_t batch_row_ = 0, batch_rows_ = 0, value_ = 0;  // used of the batch; its rows; values used
  int64_t row_ = 0;                                     // of the file, from 1
  int64_t nulls_ = 0;
};

}  // namespace

bool CanReadParquet() { return true; }

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquetReader(const TextPart& part,
                                                                  const DocumentOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<ParquetFile> file, ParquetFile::Open(part));
  if (options.format == TextFormat::kChat) return MakeParquetRecordReader(std::move(file), options);
  auto reader = std::make_unique<ParquetReader>(std::move(file), options);
  RETURN_IF_ERROR(reader->OpenColumn());
  return reader;
}

absl::StatusOr<std::vector<int64_t>> ParquetCuts(const std::string& path) {
  ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
  std::vector<int64_t> cuts;
  RETURN_IF_ERROR(GuardParquet(path, "; the footer is damaged, fetch the file again", [&] {
    PARQUET_ASSIGN_OR_THROW(auto input,
                            arrow::io::ReadableFile::Open(path, arrow::system_memory_pool()));
    cuts = CutsOf(*parquet::ParquetFileReader::Open(std::move(input))->metadata(), stamp.bytes);
  }));
  return cuts;
}

#else

bool CanReadParquet() { return false; }

namespace {

absl::Status NoParquet(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat(
      path,
      ": this is a Parquet file, and this build of Wyvern was made without Apache Arrow, which "
      "reads it; install it (pip install pyarrow), configure with -DWYVERN_PARQUET=ON and "
      "build again, or make JSON lines of the file"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenParquetReader(const TextPart& part,
                                                                  const DocumentOptions&) {
  return NoParquet(part.path);
}

absl::StatusOr<std::vector<int64_t>> ParquetCuts(const std::string& path) {
  return NoParquet(path);
}

#endif

}  // namespace wyvern
