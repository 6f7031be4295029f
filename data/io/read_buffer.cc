#include "data/io/read_buffer.h"

#include <algorithm>

namespace wyvern {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;

}  // namespace

absl::Status ReadBuffer::Fill() {
  bytes_.erase(0, begin_);
  begin_ = 0;
  const size_t size = bytes_.size();
  // A long document gets room for the longest one at once: memory that is not written to costs
  // nothing, and a string that doubles copies itself at its largest.
  constexpr size_t kLarge = size_t{4} << 20;
  if (size + kReadBytes > std::max(bytes_.capacity(), kLarge)) {
    bytes_.reserve(std::max(size, kMaxDocumentBytes) + 4 * kReadBytes);
  }
  bytes_.resize(size + kReadBytes);
  const absl::StatusOr<size_t> got = stream_->Read(bytes_.data() + size, kReadBytes);
  bytes_.resize(size + (got.ok() ? *got : 0));
  if (!got.ok()) return got.status();
  at_end_ = *got == 0;
  return absl::OkStatus();
}

void ReadBuffer::Consume(size_t count) {
  const Place next = PlaceOf(count);
  line_ = next.line;
  column_ = next.column;
  byte_ = next.byte;
  begin_ += count;
}

ReadBuffer::Place ReadBuffer::PlaceOf(size_t offset) const {
  const absl::string_view before = text().substr(0, offset);
  const auto bytes = static_cast<int64_t>(before.size());
  const size_t newline = before.rfind('\n');
  return {
      line_ + std::count(before.begin(), before.end(), '\n'),
      newline == absl::string_view::npos ? column_ + bytes : bytes - static_cast<int64_t>(newline),
      byte_ + bytes};
}

}  // namespace wyvern
