// The documents of one file.
#ifndef WYVERN_DATA_DOCUMENT_READER_H_
#define WYVERN_DATA_DOCUMENT_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace wyvern {

class DocumentReader {
 public:
  virtual ~DocumentReader() = default;
  // The next document or part of one, as TextSource::Next.
  virtual absl::StatusOr<bool> Next(std::string* text, bool* ends_document) = 0;
  virtual int64_t file_bytes_read() const = 0;
};

absl::StatusOr<std::unique_ptr<DocumentReader>> OpenText(const std::string& path,
                                                         const std::string& separator);
absl::StatusOr<std::unique_ptr<DocumentReader>> OpenJsonLines(const std::string& path,
                                                              const std::string& field);

}  // namespace wyvern

#endif  // WYVERN_DATA_DOCUMENT_READER_H_
