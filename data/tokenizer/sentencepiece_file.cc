#include "data/tokenizer/sentencepiece_file.h"

#include <cstring>
#include <utility>

namespace wyvern {
namespace {

// The fields of a message in the wire format of Protocol Buffers.
class Fields {
 public:
  explicit Fields(absl::string_view bytes) : rest_(bytes) {}

  // The next field; false at the end and at what is damaged.
  bool Next() {
    if (rest_.empty()) return false;
    const uint64_t key = Varint();
    number_ = key >> 3;
    switch (key & 7) {
      case 0:
        value_ = Varint();
        break;
      case 1:
        Take(8);
        break;
      case 2:
        Take(Varint());
        break;
      case 5:
        Take(4);
        break;
      default:
        damaged_ = true;
    }
    return !damaged_;
  }

  bool damaged() const { return damaged_; }
  uint64_t number() const { return number_; }
  uint64_t value() const { return value_; }           // of a number
  absl::string_view bytes() const { return bytes_; }  // of a text or a message
  float real() const {
    float real = 0;
    if (bytes_.size() == sizeof(real)) std::memcpy(&real, bytes_.data(), sizeof(real));
    return real;
  }

 private:
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged_ = true;
    return 0;
  }
  void Take(uint64_t size) {
    damaged_ = damaged_ || size > rest_.size();
    if (damaged_) return;
    bytes_ = rest_.substr(0, static_cast<size_t>(size));
    rest_.remove_prefix(static_cast<size_t>(size));
  }

  absl::string_view rest_, bytes_;
  uint64_t number_ = 0, value_ = 0;
  bool damaged_ = false;
};

bool ReadPiece(absl::string_view message, SentencePieceFile::Piece* piece) {
  Fields fields(message);
  while (fields.Next()) {
    if (fields.number() == 1) piece->text = std::string(fields.bytes());
    if (fields.number() == 2) piece->score = fields.real();
    if (fields.number() == 3) piece->type = fields.value();
  }
  return !fields.damaged();
}

bool ReadTrainer(absl::string_view message, SentencePieceFile* file) {
  Fields fields(message);
  while (fields.Next()) {
    if (fields.number() == 3) file->model_type = fields.value();
    if (fields.number() == 24) file->treat_whitespace_as_suffix = fields.value() != 0;
    if (fields.number() == 35) file->byte_fallback = fields.value() != 0;
  }
  return !fields.damaged();
}

bool ReadNormalizer(absl::string_view message, SentencePieceFile* file) {
  Fields fields(message);
  while (fields.Next()) {
    if (fields.number() == 2) file->has_character_map = !fields.bytes().empty();
    if (fields.number() == 3) file->add_dummy_prefix = fields.value() != 0;
    if (fields.number() == 4) file->remove_extra_whitespaces = fields.value() != 0;
    if (fields.number() == 5) file->escape_whitespaces = fields.value() != 0;
  }
  return !fields.damaged();
}

}  // namespace

std::optional<SentencePieceFile> ReadSentencePieceFile(absl::string_view model) {
  SentencePieceFile file;
  Fields fields(model);
  bool ok = true;
  while (ok && fields.Next()) {
    if (fields.number() == 1) ok = ReadPiece(fields.bytes(), &file.pieces.emplace_back());
    if (fields.number() == 2) ok = ReadTrainer(fields.bytes(), &file);
    if (fields.number() == 3) ok = ReadNormalizer(fields.bytes(), &file);
  }
  if (!ok || fields.damaged()) return std::nullopt;
  return file;
}

}  // namespace wyvern
