// Token files of other programs. The first byte is the format; then come three files, each but the
// last with its length in two bytes before it: the index, the metadata, the tokens.
#include <cstring>

#include "data/token_files/token_file.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  if (size == 0) return 0;
  absl::string_view rest = wyvern::View(data + 1, size - 1);
  const auto take = [&rest] {
    uint16_t length = 0;
    if (rest.size() < sizeof(length)) return absl::string_view();
    std::memcpy(&length, rest.data(), sizeof(length));
    rest.remove_prefix(sizeof(length));
    const absl::string_view file = rest.substr(0, length);
    rest.remove_prefix(file.size());
    return file;
  };
  const absl::string_view index = take(), metadata = take();
  std::string path;
  wyvern::TokenFileOptions options;
  switch (data[0] % 4) {
    case 0:
      scratch.Write("m.idx", index);
      path = scratch.Write("m.bin", rest);
      break;
    case 1:
      scratch.Write("d.ds.index", index);
      scratch.Write("d.ds.metadata", metadata);
      path = scratch.Write("d.ds", rest);
      break;
    case 2:
      path = scratch.Write("any.npy", rest);
      break;
    default:
      path = scratch.Write("any.bin", rest);
      options.dtype = wyvern::TokenDtype::kFloat32;
  }
  const auto file = wyvern::TokenFile::Open(path, options);
  if (!file.ok()) return 0;
  CHECK((*file)->num_tokens() <= static_cast<int64_t>(rest.size()), (*file)->num_tokens());
  int64_t tokens = 0;
  wyvern::TokenPiece piece;
  while (true) {
    const absl::StatusOr<bool> found = (*file)->Next(50'000, &piece);
    if (!found.ok()) return 0;
    if (!*found) break;
    CHECK(!piece.tokens.empty());
    for (const int32_t id : piece.tokens) CHECK(0 <= id && id < 50'000, "id ", id);
    tokens += static_cast<int64_t>(piece.tokens.size());
  }
  CHECK(tokens == (*file)->num_tokens(), tokens, " of ", (*file)->num_tokens());
  return 0;
}
