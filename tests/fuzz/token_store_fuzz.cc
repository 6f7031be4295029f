// The file of a token store. HDF5 itself is the distribution's library and is not instrumented.
#include <vector>

#include "data/store/token_store.h"
#include "tests/fuzz/scratch.h"

// The library loses small pieces of its own when it gives up on a damaged file.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const wyvern::Scratch scratch;
  const std::string path = scratch.Write("train.h5", wyvern::View(data, size));
  const auto store = wyvern::TokenStore::Open(path);
  wyvern::DescribeStore(path, /*verify=*/true).status().IgnoreError();
  if (!store.ok()) return 0;
  const int64_t tokens = (*store)->num_tokens();
  CHECK(tokens <= static_cast<int64_t>(size), tokens, " tokens in ", size, " bytes");
  std::vector<int32_t> ids(tokens);
  if ((*store)->Read(0, tokens, ids.data()).ok()) {
    for (const int32_t id : ids) CHECK(id >= 0 && id < (*store)->info().vocab_size, "token ", id);
  }
  (*store)->MakeStoreTokenizer().status().IgnoreError();
  (*store)->ReadSourceFiles().status().IgnoreError();
  (*store)->ReadDocumentSources().status().IgnoreError();
  return 0;
}
