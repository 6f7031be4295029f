// A checkpoint's manifest with the checksum of its text, as anyone could write it: what is accepted
// is written and read back as it was.
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "tests/fuzz/scratch.h"
#include "trainer/checkpoint/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view whole = wyvern::View(data, size);
  const size_t line = whole.find('\n');
  const std::string rest(line == absl::string_view::npos ? whole : whole.substr(line + 1));
  const auto manifest =
      wyvern::ManifestFromText(absl::StrFormat("{\"manifest_crc32\": \"%08x\",\n%s",
                                               wyvern::Crc32(rest.data(), rest.size()), rest),
                               "manifest.json");
  wyvern::ManifestPartFromText(std::string(whole)).status().IgnoreError();
  if (!manifest.ok()) return 0;
  const std::string text = wyvern::ManifestToText(*manifest);
  const auto again = wyvern::ManifestFromText(text, "manifest.json");
  CHECK(again.ok(), again.status().ToString());
  CHECK(wyvern::ManifestToText(*again) == text, "the manifest changes when it is written again");
  return 0;
}
