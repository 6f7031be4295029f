#include "trainer/hf/import_folder.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/hf/load_folder.h"

namespace wyvern {
namespace {

// Notes the folder's tensors that are not finite, for rows of a parameter or buffer from `begin`
// on.
void NoteNonFinite(const HfModelWeights& weights, const std::string& name, const Tensor& rows,
                   int64_t begin, std::set<std::string>* nonfinite) {
  const int64_t row = rows.numel() / rows.dim(0);
  const float* value = rows.data<float>();
  for (int64_t i = 0; i < rows.dim(0); ++i, value += row) {
    if (std::all_of(value, value + row, [](float x) { return std::isfinite(x); })) continue;
    nonfinite->insert(weights.StoredName(name, begin + i));
  }
}

// A parameter or buffer as fp32 master weights.
StreamedTensor Streamed(const HfModelWeights& weights, const std::string& name, const Shape& shape,
                        int64_t piece_bytes, std::set<std::string>* nonfinite) {
  const int64_t row_bytes = NumElements(shape) / shape[0] * SizeOf(DType::kFloat32);
  return {
      .tensor = {absl::StrCat("model/", name), shape, DType::kFloat32},
      .rows_at_once = std::max<int64_t>(1, piece_bytes / std::max<int64_t>(1, row_bytes)),
      .rows = [&weights, name, nonfinite](int64_t begin, int64_t end) -> absl::StatusOr<Tensor> {
        ASSIGN_OR_RETURN(const Tensor read, weights.Rows(name, begin, end));
        const Tensor rows = read.To(DType::kFloat32);
        NoteNonFinite(weights, name, rows, begin, nonfinite);
        return rows;
      }};
}

}  // namespace

absl::StatusOr<HfImport> ImportHfFolder(const std::string& dir, const std::string& checkpoint,
                                        const HfImportOptions& options) {
  const Operation importing(absl::StrCat("importing ", dir));
  std::error_code ignored;
  if (std::filesystem::exists(checkpoint, ignored)) {
    return absl::AlreadyExistsError(
        absl::StrCat(checkpoint, ": exists already; choose another or remove it"));
  }
  ASSIGN_OR_RETURN(HfConfig config, ReadHfConfigFile(dir));
  if (options.tokenizer != nullptr && options.tokenizer->vocab_size() > config.model.vocab_size) {
    return absl::FailedPreconditionError(
        absl::StrCat("the tokenizer has ", options.tokenizer->vocab_size(), " tokens, the model ",
                     config.model.vocab_size));
  }
  ASSIGN_OR_RETURN(const HfWeights weights, HfWeights::Open(dir));
  RETURN_IF_ERROR(SettleTiedHead(weights, &config));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, DeclareModel(config.model, weights));
  ASSIGN_OR_RETURN(const HfModelWeights matched,
                   HfModelWeights::Match(weights, *config.family, model.get()));
  RETURN_IF_ERROR(matched.CheckPlaces(config));
  std::set<std::string> nonfinite;
  std::vector<StreamedTensor> tensors;
  for (const Parameter* p : model->parameters()) {
    tensors.push_back(Streamed(matched, p->name, p->shape, options.piece_bytes, &nonfinite));
  }
  for (const ModelBuffer* b : model->buffers()) {
    tensors.push_back(Streamed(matched, b->name, b->shape, options.piece_bytes, &nonfinite));
  }
  nlohmann::json meta = {{"huggingface", config.kept}};
  if (!options.chat.is_null()) meta["chat"] = options.chat;
  RETURN_IF_ERROR(SaveStreamedModel(checkpoint, config.model, tensors, options.tokenizer, meta));
  for (const std::string& name : nonfinite) {
    config.warnings.push_back(absl::StrCat(weights.PathOf(name), ": ", name,
                                           " holds numbers that are not finite in fp32"));
  }
  return HfImport{.family = config.family, .model = config.model, .warnings = config.warnings};
}

}  // namespace wyvern
