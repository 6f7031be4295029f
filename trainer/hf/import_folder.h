// Checkpoints of Hugging Face folders.
#ifndef WYVERN_TRAINER_HF_IMPORT_FOLDER_H_
#define WYVERN_TRAINER_HF_IMPORT_FOLDER_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/model_config.h"
#include "trainer/hf/hf_config.h"

namespace wyvern {

struct HfImportOptions {
  const Tokenizer* tokenizer = nullptr;      // may be null
  nlohmann::json chat;                       // ChatRecord of the folder's template, or null
  int64_t piece_bytes = int64_t{128} << 20;  // held at a time, or one row or expert if that is more
};
struct HfImport {
  const HfFamily* family = nullptr;
  ModelConfig model;
  std::vector<std::string> warnings;  // the configuration's; tensors that are not finite
};
// Makes a checkpoint of the folder, slice by slice: a model of any size passes through. All of the
// folder's headers are compared with its configuration first. `checkpoint` must not exist.
absl::StatusOr<HfImport> ImportHfFolder(const std::string& dir, const std::string& checkpoint,
                                        const HfImportOptions& options = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_IMPORT_FOLDER_H_
