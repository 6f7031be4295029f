// Where a file of text may be divided, so that several readers read it.
#ifndef WYVERN_DATA_TEXT_FILE_CUTS_H_
#define WYVERN_DATA_TEXT_FILE_CUTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/document_reader.h"

namespace wyvern {

// JSON lines that are not compressed are cut where a line begins, Parquet where a row group does.
// Other files are not cut: where a record begins in them is known only from the front.
class FileCuts {
 public:
  // Errors: as DocumentReader::Open.
  static absl::StatusOr<FileCuts> Of(const std::string& path, const DocumentOptions& options);

  // The first byte, at or behind `offset` > 0, at which a part may begin; bytes() if there is none.
  absl::StatusOr<int64_t> At(int64_t offset) const;
  int64_t bytes() const { return bytes_; }

 private:
  FileCuts(std::string path, int64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  int64_t bytes_;
  bool has_lines_ = false;
  std::vector<int64_t> cuts_;  // in rising order
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_FILE_CUTS_H_
