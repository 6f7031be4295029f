// NumPy's .npy files, versions 1 to 3: the bytes "\x93NUMPY", two of the version, the length of the
// header (2 bytes little-endian in version 1, else 4), the header, a Python dictionary such as
// {'descr': '<u2', 'fortran_order': False, 'shape': (3, 4), }, then the values.
//
// One dimension is one document, two are a document a row.
#include <cctype>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/token_files/file_values.h"
#include "data/token_files/layout.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr absl::string_view kMagic = "\x93NUMPY";
constexpr int64_t kMaxHeaderBytes = int64_t{1} << 16;

class Rows final : public DocumentEnds {
 public:
  Rows(int64_t rows, int64_t columns) : rows_(rows), columns_(columns) {}
  absl::StatusOr<std::optional<int64_t>> Next() override {
    if (row_ == rows_) return std::nullopt;
    return ++row_ * columns_;
  }

 private:
  const int64_t rows_, columns_;
  int64_t row_ = 0;
};

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// The literals that NumPy writes, and no others.
class Parser {
 public:
  explicit Parser(absl::string_view text) : rest_(text) {}

  bool Parse(Header* header) {
    bool has_descr = false, has_order = false, has_shape = false;
    if (!Take("{")) return false;
    while (!Take("}")) {
      std::string key;
      if (!String(&key) || !Take(":")) return false;
      bool* const has = key == "descr"           ? &has_descr
                        : key == "fortran_order" ? &has_order
                        : key == "shape"         ? &has_shape
                                                 : nullptr;
      if (has == nullptr || *has) return false;
      *has = true;
      const bool is_read = key == "descr"           ? String(&header->descr)
                           : key == "fortran_order" ? Bool(&header->fortran_order)
                                                    : Shape(&header->shape);
      if (!is_read) return false;
      if (!Take(",") && !absl::StartsWith(rest_, "}")) return false;
    }
    Skip();
    return has_descr && has_order && has_shape && rest_.empty();
  }

 private:
  void Skip() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0])) != 0) {
      rest_.remove_prefix(1);
    }
  }
  // Spaces around it, too.
  bool Take(absl::string_view token) {
    Skip();
    const bool found = absl::ConsumePrefix(&rest_, token);
    Skip();
    return found;
  }
  bool String(std::string* value) {
    Skip();
    if (rest_.empty() || (rest_[0] != '\'' && rest_[0] != '"')) return false;
    const size_t end = rest_.find(rest_[0], 1);
    if (end == absl::string_view::npos) return false;
    *value = std::string(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return true;
  }
  bool Bool(bool* value) {
    *value = Take("True");
    return *value || Take("False");
  }
  bool Shape(std::vector<int64_t>* shape) {
    if (!Take("(")) return false;
    while (!Take(")")) {
      size_t digits = 0;
      while (digits < rest_.size() &&
             std::isdigit(static_cast<unsigned char>(rest_[digits])) != 0) {
        ++digits;
      }
      int64_t size = 0;
      if (!absl::SimpleAtoi(rest_.substr(0, digits), &size)) return false;
      shape->push_back(size);
      rest_.remove_prefix(digits);
      if (!Take(",") && !absl::StartsWith(rest_, ")")) return false;
    }
    return true;
  }

  absl::string_view rest_;
};

absl::Status Damaged(const std::string& path, const std::string& what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, "; copy or make it again"));
}

absl::StatusOr<TokenDtype> DtypeOf(const std::string& path, const std::string& descr) {
  constexpr std::pair<absl::string_view, TokenDtype> kTypes[] = {
      {"u1", TokenDtype::kUint8},   {"i1", TokenDtype::kInt8},   {"u2", TokenDtype::kUint16},
      {"i2", TokenDtype::kInt16},   {"u4", TokenDtype::kUint32}, {"i4", TokenDtype::kInt32},
      {"u8", TokenDtype::kUint64},  {"i8", TokenDtype::kInt64},  {"f4", TokenDtype::kFloat32},
      {"f8", TokenDtype::kFloat64},
  };
  absl::string_view type = descr;
  if (absl::StartsWith(type, "<") || absl::StartsWith(type, "|")) type.remove_prefix(1);
  for (const auto& [name, dtype] : kTypes) {
    if (name == type) return dtype;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": an array of the type '", descr,
      "'; expected little-endian numbers (save it with .astype('uint16') or 'uint32')"));
}

}  // namespace

bool IsNpy(const std::string& first_bytes) { return absl::StartsWith(first_bytes, kMagic); }

absl::StatusOr<TokenLayout> NpyLayout(const std::string& path, std::optional<TokenDtype> dtype) {
  ASSIGN_OR_RETURN(FileValues values, FileValues::Open(path, 0));
  std::string magic(kMagic.size(), '\0');
  RETURN_IF_ERROR(values.ReadBytes(magic.data(), magic.size()));
  if (magic != kMagic) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": it does not begin as an array of NumPy does; if it holds nothing but "
                     "values (as OLMo's files do), read it as raw and give its dtype"));
  }
  uint8_t major = 0, minor = 0;
  RETURN_IF_ERROR(values.Read(&major));
  RETURN_IF_ERROR(values.Read(&minor));
  if (major < 1 || major > 3) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": an array of NumPy of version ", int{major}, "; expected 1, 2 or 3"));
  }
  int64_t header_bytes = 0;
  int64_t begin = static_cast<int64_t>(kMagic.size()) + 2;
  if (major == 1) {
    uint16_t length = 0;
    RETURN_IF_ERROR(values.Read(&length));
    header_bytes = length;
    begin += 2;
  } else {
    uint32_t length = 0;
    RETURN_IF_ERROR(values.Read(&length));
    header_bytes = length;
    begin += 4;
  }
  if (header_bytes > kMaxHeaderBytes) {
    return Damaged(path, absl::StrCat("its header has ", header_bytes, " bytes"));
  }
  std::string text(static_cast<size_t>(header_bytes), '\0');
  RETURN_IF_ERROR(values.ReadBytes(text.data(), text.size()));
  begin += header_bytes;
  Header header;
  if (!Parser(text).Parse(&header)) {
    return Damaged(path, "its header is not one of an array of numbers");
  }
  TokenLayout layout;
  layout.format = TokenFileFormat::kNpy;
  ASSIGN_OR_RETURN(layout.dtype, DtypeOf(path, header.descr));
  RETURN_IF_ERROR(CheckDtype(path, layout.dtype, dtype));
  const std::vector<int64_t>& shape = header.shape;
  if (shape.empty() || shape.size() > 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": an array of ", shape.size(),
                     " dimensions; expected one, or two with a document a row"));
  }
  if (header.fortran_order && shape.size() == 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": an array stored by columns; save it with numpy.ascontiguousarray"));
  }
  layout.begin = begin;
  ASSIGN_OR_RETURN(layout.num_tokens, CountValues(path, begin, Bytes(layout.dtype)));
  const int64_t rows = shape.size() == 2 ? shape[0] : 1;
  const int64_t columns = shape.back();
  const bool fits = columns == 0
                        ? layout.num_tokens == 0
                        : layout.num_tokens % columns == 0 && layout.num_tokens / columns == rows;
  if (!fits) {
    return Damaged(path, absl::StrCat("its header promises ", rows, " x ", columns,
                                      " values, it has ", layout.num_tokens));
  }
  if (shape.size() == 2) {
    layout.ends = std::make_unique<Rows>(columns == 0 ? 0 : rows, columns);
  }
  layout.paths = {path};
  return layout;
}

}  // namespace wyvern
