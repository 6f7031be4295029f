#include "trainer/verify/check_exports.h"

#include <cstring>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/hf/import_folder.h"
#include "trainer/hf/save_folder.h"

namespace wyvern {
namespace {

// The parameters and buffers that two checkpoints do not both have, or have with other bits.
absl::Status Compare(const std::string& checkpoint, const std::string& other, ExportCheck* check) {
  ASSIGN_OR_RETURN(const CheckpointInfo first, OpenCheckpoint(checkpoint));
  ASSIGN_OR_RETURN(const CheckpointInfo second, OpenCheckpoint(other));
  std::map<std::string, const CheckpointTensor*> left;  // of the other one
  for (const CheckpointTensor& tensor : second.tensors) {
    if (absl::StartsWith(tensor.name, "model/")) left[tensor.name] = &tensor;
  }
  for (const CheckpointTensor& tensor : first.tensors) {
    if (!absl::StartsWith(tensor.name, "model/")) continue;
    ++check->num_tensors;
    const auto found = left.find(tensor.name);
    if (found == left.end() || found->second->shape != tensor.shape ||
        found->second->dtype != tensor.dtype) {
      check->different.push_back(tensor.name);
    } else {
      const Tensor a = Tensor::Empty(tensor.shape, tensor.dtype, Device::kCpu),
                   b = Tensor::Empty(tensor.shape, tensor.dtype, Device::kCpu);
      RETURN_IF_ERROR(ReadCheckpoint(first.path, {{tensor.name, a}}));
      RETURN_IF_ERROR(ReadCheckpoint(second.path, {{tensor.name, b}}));
      if (std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.nbytes())) != 0) {
        check->different.push_back(tensor.name);
      }
    }
    if (found != left.end()) left.erase(found);
  }
  for (const auto& [name, tensor] : left) check->different.push_back(name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ExportCheck>> CheckExports(const std::string& checkpoint,
                                                      const std::string& scratch) {
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpoint(checkpoint));
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(info));
  std::vector<ExportCheck> checks;
  for (const HfFamily* family : HfFamilies()) {
    ExportCheck& check = checks.emplace_back();
    check.family = family->model_type;
    check.why_not = WhyNotAs(*family, model);
    if (!check.why_not.empty()) continue;
    Say(absl::StrCat("writing and reading a folder of ", check.family));
    const std::string folder = absl::StrCat(scratch, "/", check.family),
                      imported = folder + "_imported";
    HfExportOptions options;
    options.config.family = family;
    RETURN_IF_ERROR(SaveHfFolder(model, SourceOfCheckpoint(info.path), folder, options));
    RETURN_IF_ERROR(ImportHfFolder(folder, imported).status());
    RETURN_IF_ERROR(Compare(info.path, imported, &check));
    std::filesystem::remove_all(folder);
    std::filesystem::remove_all(imported);
  }
  return checks;
}

}  // namespace wyvern
