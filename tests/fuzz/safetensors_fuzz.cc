// A safetensors file: what Open accepts can be read whole.
#include <vector>

#include "data/io/safetensors.h"
#include "tests/fuzz/scratch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  const std::string path = scratch.Write("model.safetensors", wyvern::View(data, size));
  const auto reader = wyvern::SafetensorsReader::Open(path);
  if (!reader.ok()) return 0;
  for (const auto& [name, entry] : reader->tensors()) {
    CHECK(entry.num_bytes() <= size, name, " is larger than its file");
    std::vector<char> bytes(entry.num_bytes());
    const absl::Status read = reader->Read(name, bytes.data(), bytes.size());
    CHECK(read.ok(), read.ToString());
  }
  return 0;
}
