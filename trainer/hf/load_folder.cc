#include "trainer/hf/load_folder.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/json.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Left over from readers' buffers, or layers that predict several tokens, which readers pass over.
bool IsLeftOver(absl::string_view name, const HfConfig& config) {
  if (absl::EndsWith(name, "rotary_emb.inv_freq") || absl::StartsWith(name, "mtp.")) return true;
  int64_t layer = -1;
  if (!absl::ConsumePrefix(&name, "model.layers.")) return false;
  if (!absl::SimpleAtoi(name.substr(0, name.find('.')), &layer)) return false;
  const int64_t behind = layer - config.model.num_layers;
  return behind >= 0 && behind < config.extra_layers;
}

// Python's writers leave numbers bare that JSON does not have; each becomes the text of its name.
std::string Quoted(absl::string_view text) {
  std::string quoted;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!in_string) {
      bool found = false;
      for (const absl::string_view name : {"Infinity", "-Infinity", "NaN"}) {
        if (!absl::StartsWith(text.substr(i), name)) continue;
        absl::StrAppend(&quoted, "\"", name, "\"");
        i += name.size() - 1;
        found = true;
        break;
      }
      if (found) continue;
    }
    if (text[i] == '"') in_string = !in_string;
    quoted.push_back(text[i]);
    if (in_string && text[i] == '\\' && i + 1 < text.size()) quoted.push_back(text[++i]);
  }
  return quoted;
}

// Whether two tensors of one shape hold the same numbers.
absl::StatusOr<bool> Equal(const HfWeights& weights, const std::string& a, const std::string& b) {
  constexpr int64_t kPiece = int64_t{1} << 22;
  ASSIGN_OR_RETURN(const SafetensorsEntry entry_a, weights.Find(a));
  ASSIGN_OR_RETURN(const SafetensorsEntry entry_b, weights.Find(b));
  if (entry_a.shape != entry_b.shape) return false;
  const int64_t size = NumElements(entry_a.shape);
  for (int64_t begin = 0; begin < size; begin += kPiece) {
    const int64_t end = std::min(size, begin + kPiece);
    ASSIGN_OR_RETURN(const Tensor piece_a, weights.Read(a, begin, end));
    ASSIGN_OR_RETURN(const Tensor piece_b, weights.Read(b, begin, end));
    if (piece_a.To(DType::kFloat64).ToVector<double>() !=
        piece_b.To(DType::kFloat64).ToVector<double>()) {
      return false;
    }
  }
  return true;
}

constexpr absl::string_view kGate = ".mlp.gate_proj.weight", kUp = ".mlp.up_proj.weight";

// Checkpoints of FLA from before February 2025 hold gate and up, in this order, in one matrix under
// the name of the gate. Returns that name if `wanted` is one of the halves of such a matrix.
std::string PackedMlpName(const HfWeights& weights, const std::string& wanted) {
  const bool gate = absl::EndsWith(wanted, kGate);
  if (!gate && !absl::EndsWith(wanted, kUp)) return "";
  const std::string stem = wanted.substr(0, wanted.size() - (gate ? kGate.size() : kUp.size()));
  const std::string gate_name = absl::StrCat(stem, kGate);
  return weights.Has(gate_name) && !weights.Has(absl::StrCat(stem, kUp)) ? gate_name : "";
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfigFile(const std::string& dir) {
  const Operation reading(absl::StrCat("reading ", dir, "/config.json"));
  const std::string path = absl::StrCat(dir, "/config.json");
  ASSIGN_OR_RETURN(const std::string text, ReadJsonText(path));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(Quoted(text), path));
  absl::StatusOr<HfConfig> config = ReadHfConfig(json);
  if (!config.ok()) {
    return absl::Status(config.status().code(), absl::StrCat(dir, ": ", config.status().message()));
  }
  return config;
}

absl::Status SettleTiedHead(const HfWeights& weights, HfConfig* config) {
  if (!config->model.tie_embeddings) return absl::OkStatus();
  if (!config->family->ties_head) {
    if (!weights.Has(kHfHeadName)) return absl::OkStatus();
    config->model.tie_embeddings = false;
    config->warnings.push_back(absl::StrCat(
        "config.json says tie_word_embeddings, but transformers 5 does not tie the head of ",
        config->family->model_type, ": ", kHfHeadName, " is the head"));
    return absl::OkStatus();
  }
  const std::string embedding = config->family->embedding_name;
  if (!weights.Has(kHfHeadName) || !weights.Has(embedding)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool equal, Equal(weights, embedding, kHfHeadName));
  if (equal) return absl::OkStatus();
  config->model.tie_embeddings = false;
  config->warnings.push_back(absl::StrCat("config.json says tie_word_embeddings, but ", kHfHeadName,
                                          " differs from ", embedding,
                                          ": the head is not tied, as in transformers 5"));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> DeclareModel(const ModelConfig& config,
                                                    const HfWeights& weights) {
  const auto num_tensors = static_cast<int64_t>(weights.names().size());
  if (config.num_layers > num_tensors) {
    return absl::InvalidArgumentError(
        absl::StrCat(weights.dir(), ": config.json speaks of ", config.num_layers,
                     " layers, but the weights have ", num_tensors, " tensors in all"));
  }
  return Model::Declare(config);
}

absl::StatusOr<HfModelWeights> HfModelWeights::Match(const HfWeights& weights,
                                                     const HfFamily& family, Model* model) {
  HfModelWeights matched;
  matched.weights_ = &weights;
  for (const Parameter* p : model->parameters()) {
    RETURN_IF_ERROR(matched.Add(p->name, p->shape, HfTensorsOf(*p, model->config(), family)));
  }
  for (const ModelBuffer* buffer : model->buffers()) {
    RETURN_IF_ERROR(
        matched.Add(buffer->name, buffer->shape, HfTensorsOf(*buffer, model->config(), family)));
  }
  return matched;
}

absl::Status HfModelWeights::CheckPlaces(const HfConfig& config) const {
  for (const std::string& name : weights_->names()) {
    const bool tied_head = name == kHfHeadName && config.model.tie_embeddings;
    if (used_.count(name) > 0 || tied_head || IsLeftOver(name, config)) continue;
    return absl::InvalidArgumentError(absl::StrCat(weights_->PathOf(name), ": the tensor ", name,
                                                   " has no place in the model of config.json"));
  }
  return absl::OkStatus();
}

absl::Status HfModelWeights::Add(const std::string& name, const Shape& shape,
                                 std::vector<HfTensor> tensors) {
  Entry entry{.shape = shape};
  std::string last_path;
  for (HfTensor& tensor : tensors) {
    if (!tensor.pieces.empty()) {
      ASSIGN_OR_RETURN(std::vector<Stored> pieces, FindPieces(tensor, &entry.dtype));
      entry.parts.push_back({.tensor = std::move(tensor), .stored = std::move(pieces)});
      continue;
    }
    std::string stored_name = tensor.name;
    int64_t first_element = 0;
    Shape expected = tensor.shape;
    const std::string packed = PackedMlpName(*weights_, tensor.name);
    if (!packed.empty()) {
      stored_name = packed;
      if (!absl::EndsWith(tensor.name, kGate)) first_element = NumElements(tensor.shape);
      expected[0] *= 2;
    } else if (!weights_->Has(tensor.name) && weights_->Has(tensor.other_name)) {
      stored_name = tensor.other_name;
    }
    if (tensor.slice > 0 && !weights_->Has(stored_name)) {
      return absl::NotFoundError(absl::StrCat(weights_->dir(), ": the weights lack the tensor ",
                                              stored_name, ", one of ", tensors.size(),
                                              " of its kind; the one before is in ", last_path));
    }
    ASSIGN_OR_RETURN(const SafetensorsEntry stored, weights_->Find(stored_name));
    const std::string& path = weights_->PathOf(stored_name);
    if (stored.shape != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", stored_name, " has shape ", ToString(stored.shape),
                       "; config.json makes it ", ToString(expected)));
    }
    RETURN_IF_ERROR(FloatTypeOf(path, stored_name, stored).status());
    if (stored.dtype == "F64") entry.dtype = DType::kFloat64;
    used_.insert(stored_name);
    last_path = path;
    entry.parts.push_back({.tensor = std::move(tensor),
                           .stored = {{.name = stored_name, .first_element = first_element}}});
  }
  entries_[name] = std::move(entry);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HfModelWeights::Stored>> HfModelWeights::FindPieces(
    const HfTensor& tensor, DType* dtype) {
  std::vector<Stored> pieces;
  int64_t num_rows = 0;
  for (const HfTensor::Piece& piece : tensor.pieces) {
    ASSIGN_OR_RETURN(const SafetensorsEntry stored, weights_->Find(piece.name));
    const std::string& path = weights_->PathOf(piece.name);
    RETURN_IF_ERROR(FloatTypeOf(path, piece.name, stored).status());
    Shape expected = tensor.shape;
    expected[0] = stored.shape.empty() ? 0 : stored.shape[0];
    if (stored.shape != expected) {
      expected[0] = piece.num_rows;
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", piece.name, " has shape ", ToString(stored.shape),
                       "; config.json makes it ", ToString(expected)));
    }
    if (stored.dtype == "F64") *dtype = DType::kFloat64;
    used_.insert(piece.name);
    pieces.push_back({.name = piece.name, .first_row = num_rows});
    num_rows += stored.shape[0];
  }
  if (num_rows == tensor.shape[0]) return pieces;
  return absl::InvalidArgumentError(
      absl::StrCat(weights_->PathOf(pieces.front().name), ": ", pieces.front().name, " and the ",
                   pieces.size() - 1, " that follow it have ", num_rows,
                   " rows; config.json makes it ", tensor.shape[0]));
}

const std::string& HfModelWeights::StoredName(const std::string& name, int64_t row) const {
  const std::vector<Part>& parts = entries_.at(name).parts;
  CHECK(!parts.empty(), name);
  const Part& part = parts[parts.front().tensor.slice < 0 ? 0 : static_cast<size_t>(row)];
  const int64_t stored_row = part.tensor.rows.empty() ? 0 : part.tensor.rows[row];
  size_t piece = part.stored.size() - 1;
  while (part.stored[piece].first_row > stored_row) --piece;
  return part.stored[piece].name;
}

absl::Status HfModelWeights::ReadRows(const Part& part, int64_t width, int64_t begin, int64_t end,
                                      const Tensor& to) const {
  const Tensor rows = to.Reshape({end - begin, width});
  for (size_t i = 0; i < part.stored.size(); ++i) {
    const Stored& stored = part.stored[i];
    const int64_t last = i + 1 < part.stored.size() ? part.stored[i + 1].first_row : end;
    const int64_t from = std::max(begin, stored.first_row), until = std::min(end, last);
    if (from >= until) continue;
    ASSIGN_OR_RETURN(
        const Tensor read,
        weights_->Read(stored.name, stored.first_element + (from - stored.first_row) * width,
                       stored.first_element + (until - stored.first_row) * width));
    rows.Rows(from - begin, until - begin)
        .CopyFrom(read.To(to.dtype()).Reshape({until - from, width}));
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensor> HfModelWeights::Rows(const std::string& name, int64_t begin,
                                            int64_t end) const {
  const Entry& entry = entries_.at(name);
  Shape shape = entry.shape;
  shape[0] = end - begin;
  if (entry.parts.empty()) return Tensor::Zeros(shape, entry.dtype, Device::kCpu);
  const Tensor rows = Tensor::Empty(shape, entry.dtype, Device::kCpu);
  const int64_t width = NumElements(entry.shape) / entry.shape[0];
  const Part& first = entry.parts.front();
  if (first.tensor.slice >= 0) {
    for (int64_t i = begin; i < end; ++i) {
      const Part& part = entry.parts[i];
      CHECK(part.tensor.slice == i, part.tensor.name);
      RETURN_IF_ERROR(ReadRows(part, width, 0, 1, rows.Rows(i - begin, i - begin + 1)));
    }
    return rows;
  }
  const std::vector<int64_t>& of = first.tensor.rows;
  if (of.empty()) {
    RETURN_IF_ERROR(ReadRows(first, width, begin, end, rows));
    return rows;
  }
  // Runs of rows that follow one another there are read at once.
  for (int64_t i = begin, next; i < end; i = next) {
    for (next = i + 1; next < end && of[next] == of[next - 1] + 1;) ++next;
    RETURN_IF_ERROR(
        ReadRows(first, width, of[i], of[next - 1] + 1, rows.Rows(i - begin, next - begin)));
  }
  return rows;
}

absl::Status LoadHfWeights(const std::string& dir, const HfFamily& family, Model* model) {
  ASSIGN_OR_RETURN(const HfWeights weights, HfWeights::Open(dir));
  ASSIGN_OR_RETURN(const HfModelWeights matched, HfModelWeights::Match(weights, family, model));
  for (const Parameter* p : model->parameters()) {
    ASSIGN_OR_RETURN(const Tensor values, matched.Rows(p->name, 0, p->shape[0]));
    p->Assign(values);
  }
  for (const ModelBuffer* buffer : model->buffers()) {
    ASSIGN_OR_RETURN(const Tensor values, matched.Rows(buffer->name, 0, buffer->shape[0]));
    buffer->value.CopyFrom(values);
  }
  return absl::OkStatus();
}

absl::StatusOr<HfModel> LoadHfFolder(const std::string& dir, Device device, DType compute,
                                     bool trainable) {
  const Operation loading(absl::StrCat("loading the folder ", dir));
  ASSIGN_OR_RETURN(HfConfig config, ReadHfConfigFile(dir));
  // A damaged file, or one of another model, is found before memory for the model is taken.
  ASSIGN_OR_RETURN(const HfWeights weights, HfWeights::Open(dir));
  RETURN_IF_ERROR(SettleTiedHead(weights, &config));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> declared, DeclareModel(config.model, weights));
  ASSIGN_OR_RETURN(const HfModelWeights matched,
                   HfModelWeights::Match(weights, *config.family, declared.get()));
  RETURN_IF_ERROR(matched.CheckPlaces(config));
  HfModel result{.family = config.family,
                 .model = Model::Create(config.model, device, compute, trainable),
                 .warnings = config.warnings,
                 .kept = config.kept};
  RETURN_IF_ERROR(LoadHfWeights(dir, *config.family, result.model.get()));
  return result;
}

}  // namespace wyvern
