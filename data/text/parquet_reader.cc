#include "data/text/parquet_reader.h"

#include "absl/strings/str_cat.h"

#ifdef WYVERN_PARQUET
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <fcntl.h>
#include <parquet/column_reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>
#include <parquet/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "data/io/byte_stream.h"
#include "data/io/file.h"
#include "data/io/file_descriptor.h"
#include "data/io/file_stamp.h"
#include "data/io/read_buffer.h"
#include "data/io/utf8.h"
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
constexpr int64_t kReadBytes = int64_t{1} << 20;

// Calls what may throw, as all of Arrow's Parquet does.
template <typename Call>
absl::Status Guarded(const std::string& where, const std::string& advice, const Call& call) {
  try {
    call();
    return absl::OkStatus();
  } catch (const parquet::ParquetException& fault) {
    return absl::DataLossError(absl::StrCat(where, ": ", fault.what(), advice));
  } catch (const std::exception&) {  // of the standard library, on a size that cannot be
    return absl::DataLossError(absl::StrCat(where, ": damaged", advice));
  }
}

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

// Where row groups begin, as ParquetCuts.
std::vector<int64_t> CutsOf(const parquet::FileMetaData& metadata, int64_t file_bytes) {
  std::vector<int64_t> cuts;
  int64_t end = 0;  // of the row group before
  for (int i = 0; i < metadata.num_row_groups(); ++i) {
    const auto group = metadata.RowGroup(i);
    int64_t begin = file_bytes, group_end = 0;
    for (int c = 0; c < group->num_columns(); ++c) {
      const auto chunk = group->ColumnChunk(c);
      int64_t first = chunk->data_page_offset();
      if (chunk->has_dictionary_page() && chunk->dictionary_page_offset() > 0) {
        first = std::min(first, chunk->dictionary_page_offset());
      }
      const int64_t size = chunk->total_compressed_size();
      if (first < 0 || size < 0 || first > file_bytes - size) return {};
      begin = std::min(begin, first);
      group_end = std::max(group_end, first + size);
    }
    if (begin < end || begin >= file_bytes) return {};
    end = group_end;
    if (i > 0) cuts.push_back(begin);
  }
  return cuts;
}

class ParquetReader final : public DocumentReader {
 public:
  ParquetReader(const TextPart& part, const DocumentOptions& options,
                std::unique_ptr<ByteStream> stream)
      : DocumentReader(options.on_error),
        part_(part),
        path_(part.path),
        field_(options.field),
        replace_(options.invalid_utf8 == InvalidUtf8::kReplace),
        stream_(std::move(stream)),
        skipped_(static_cast<size_t>(kReadBytes), '\0') {}

  absl::Status OpenFile() {
    FileDescriptor descriptor(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (descriptor.get() < 0) return ErrnoStatus(errno, "cannot open", path_);
    ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(descriptor.get(), path_));
    if (!IsSameStamp(stamp, stream_->file_stamp())) {
      return absl::FailedPreconditionError(absl::StrCat(path_, " changed while it was opened"));
    }
    RETURN_IF_ERROR(CheckEnd(descriptor.get(), stamp.bytes));
    const std::string advice = "; the footer is damaged, fetch the file again";
    RETURN_IF_ERROR(Guarded(path_, advice, [&] {
      // The descriptor is Arrow's from here on.
      PARQUET_ASSIGN_OR_THROW(auto input, arrow::io::ReadableFile::Open(
                                              descriptor.Release(), Properties().memory_pool()));
      file_ = parquet::ParquetFileReader::Open(std::move(input), Properties());
      metadata_ = file_->metadata();
    }));
    absl::StatusOr<int> column;
    RETURN_IF_ERROR(
        Guarded(path_, advice, [&] { column = FindColumn(path_, field_, *metadata_->schema()); }));
    RETURN_IF_ERROR(column.status());
    column_ = *column;
    uint64_t group_rows = 0;  // which wraps around on numbers that cannot be
    RETURN_IF_ERROR(Guarded(path_, advice, [&] {
      for (int i = 0; i < metadata_->num_row_groups(); ++i) {
        group_rows += static_cast<uint64_t>(metadata_->RowGroup(i)->num_rows());
      }
    }));
    if (group_rows != static_cast<uint64_t>(metadata_->num_rows())) {
      return absl::DataLossError(absl::StrCat(path_, ": it counts ", metadata_->num_rows(),
                                              " rows, its row groups have ", group_rows, advice));
    }
    return FindGroups();
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
  const ByteStream& stream() const override { return *stream_; }
  int64_t position() const override { return row_ - 1; }
  int64_t nulls() const override { return nulls_; }

 private:
  static parquet::ReaderProperties Properties() {
    parquet::ReaderProperties properties(arrow::system_memory_pool());
    properties.enable_buffered_stream();  // not a row group's column at once
    properties.set_buffer_size(kReadBytes);
    properties.set_page_checksum_verification(true);
    return properties;
  }

  // Arrow's own message for a file that was cut off says less.
  absl::Status CheckEnd(int descriptor, int64_t bytes) const {
    std::array<char, kParquetMagic.size()> end = {};
    const ssize_t got = pread(descriptor, end.data(), end.size(),
                              std::max<int64_t>(0, bytes - static_cast<int64_t>(end.size())));
    if (got < 0) return ErrnoStatus(errno, "cannot read", path_);
    const absl::string_view magic(end.data(), end.size());
    if (magic == kParquetMagic) return absl::OkStatus();
    if (magic == kEncryptedParquetMagic) return EncryptedParquet(path_);
    return absl::DataLossError(absl::StrCat(
        path_,
        ": this begins as a Parquet file and has no footer, so its end is missing; fetch "
        "the file again"));
  }

  // The row groups of the part.
  absl::Status FindGroups() {
    end_group_ = metadata_->num_row_groups();
    if (part_.is_whole()) return absl::OkStatus();
    const std::vector<int64_t> cuts = CutsOf(*metadata_, stream_->file_stamp().bytes);
    const auto group_at = [&](int64_t byte) {
      const auto cut = std::find(cuts.begin(), cuts.end(), byte);
      return cut == cuts.end() ? -1 : static_cast<int>(cut - cuts.begin()) + 1;
    };
    group_ = part_.begin == 0 ? 0 : group_at(part_.begin);
    if (part_.end != stream_->file_stamp().bytes) end_group_ = group_at(part_.end);
    if (group_ < 0 || end_group_ < 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_,
                       ": no row group begins where this part of it does or ends, so the "
                       "file is another one than when it was divided"));
    }
    for (int i = 0; i < group_; ++i) row_ += metadata_->RowGroup(i)->num_rows();
    return absl::OkStatus();
  }

  std::string Group() const {
    return absl::StrCat(path_, ": row group ", group_, " of ", metadata_->num_row_groups());
  }

  // The next rows of the column, whose values hold until the next call. False at the end.
  absl::StatusOr<bool> FillBatch() {
    const std::string advice = "; this row group is damaged, fetch the file again";
    batch_row_ = batch_rows_ = value_ = 0;
    while (batch_rows_ == 0) {
      if (reader_ == nullptr) {
        if (group_ == end_group_) {
          RETURN_IF_ERROR(ReadAhead(std::numeric_limits<int64_t>::max()));
          return false;
        }
        ++group_;
        int64_t end = 0;
        RETURN_IF_ERROR(Guarded(Group(), advice, [&] { end = OpenGroup(); }));
        RETURN_IF_ERROR(ReadAhead(end));
      }
      int64_t values = 0;
      RETURN_IF_ERROR(Guarded(Group(), advice, [&] {
        if (!reader_->HasNext()) return;
        batch_rows_ =
            reader_->ReadBatch(kBatchRows, levels_.data(), nullptr, values_.data(), &values);
      }));
      if (max_level_ == 0) std::fill_n(levels_.begin(), batch_rows_, int16_t{0});
      if (values != std::count(levels_.begin(), levels_.begin() + batch_rows_, max_level_)) {
        return absl::DataLossError(absl::StrCat(Group(), ": values are missing", advice));
      }
      group_rows_ -= batch_rows_;
      if (batch_rows_ > 0) continue;
      if (group_rows_ != 0) {
        return absl::DataLossError(absl::StrCat(Group(), ": it has ",
                                                group_rows_ < 0 ? "more" : "fewer",
                                                " rows than its header says", advice));
      }
      reader_ = nullptr;
    }
    return true;
  }

  // Returns the offset in the file at which its column ends.
  int64_t OpenGroup() {
    const std::shared_ptr<parquet::RowGroupReader> group = file_->RowGroup(group_ - 1);
    group_rows_ = group->metadata()->num_rows();
    reader_ = std::dynamic_pointer_cast<parquet::ByteArrayReader>(group->Column(column_));
    if (reader_ == nullptr) throw parquet::ParquetException("its column is of another type");
    max_level_ = metadata_->schema()->Column(column_)->max_definition_level();
    const auto chunk = group->metadata()->ColumnChunk(column_);
    const int64_t begin = chunk->data_page_offset();
    const int64_t size = chunk->total_compressed_size();
    const int64_t limit = stream_->file_stamp().bytes;
    return begin < 0 || size < 0 || begin > limit - size ? limit : begin + size;
  }

  // Sums up the part's bytes in front of the file's byte `offset`.
  absl::Status ReadAhead(int64_t offset) {
    while (part_.begin + stream_->file_bytes_read() < offset) {
      ASSIGN_OR_RETURN(const size_t got, stream_->Read(skipped_.data(), skipped_.size()));
      if (got == 0) break;
    }
    return absl::OkStatus();
  }

  absl::Status Take(absl::string_view bytes, std::string* text) {
    const std::string where = absl::StrCat(path_, ": row ", row_, " (row group ", group_, ")");
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

  const TextPart part_;
  const std::string path_, field_;
  const bool replace_;
  const std::unique_ptr<ByteStream> stream_;  // of all bytes of the part, for its checksum alone
  std::string skipped_;
  std::unique_ptr<parquet::ParquetFileReader> file_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  int column_ = 0;
  int group_ = 0;                                     // the row group that is read, from 1
  int end_group_ = 0;                                 // the last one
  int64_t group_rows_ = 0;                            // of it, not yet read
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
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream,
                   part.is_whole() ? ByteStream::OpenRaw(part.path)
                                   : ByteStream::OpenRange(part.path, part.begin, part.end));
  auto reader = std::make_unique<ParquetReader>(part, options, std::move(stream));
  RETURN_IF_ERROR(reader->OpenFile());
  return reader;
}

absl::StatusOr<std::vector<int64_t>> ParquetCuts(const std::string& path) {
  ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path));
  std::vector<int64_t> cuts;
  RETURN_IF_ERROR(Guarded(path, "; the footer is damaged, fetch the file again", [&] {
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
