// GGUF files of models, which llama.cpp and the programs built on it run.
#ifndef WYVERN_TRAINER_GGUF_SAVE_GGUF_H_
#define WYVERN_TRAINER_GGUF_SAVE_GGUF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/gguf.h"
#include "layers/model.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {

struct GgufOptions {
  // The type of matrices; vectors, convolutions and routers stay in fp32.
  GgufDType dtype = GgufDType::kF32;
  int64_t context_length = 2048;  // what llama.cpp takes where its user says nothing
  GgufMetadata tokenizer;         // trainer/gguf/tokenizer.h
};

struct GgufSaved {
  std::string architecture;
  std::vector<std::string> warnings;  // what llama.cpp computes a little differently
};

// Writes a file, whose name it also gives to the model. One parameter and one tensor are held at a
// time. `path` must not exist; it appears only when everything is written. Errors:
// FailedPrecondition if llama.cpp has no architecture for the model, or no place for values that
// are not zero; OutOfRange for values that fp16 cannot hold.
absl::StatusOr<GgufSaved> SaveGguf(const ModelConfig& model, const HfSource& source,
                                   const std::string& path, const GgufOptions& options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_GGUF_SAVE_GGUF_H_
