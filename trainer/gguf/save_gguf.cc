#include "trainer/gguf/save_gguf.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "kernels/runtime/half.h"
#include "kernels/runtime/status.h"
#include "trainer/gguf/architecture.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // ggml's, which converters always write

// A tensor of the file, and the parameters or buffers that lie in it.
struct Stored {
  struct Source {
    std::string name;
    Shape shape;
    GgufPart part;
  };
  GgufSpec spec;
  std::vector<Source> sources;
};

// general.file_type: llama.cpp's number of the type that most tensors have.
uint32_t FileType(GgufDType dtype) {
  switch (dtype) {
    case GgufDType::kF32:
      return 0;
    case GgufDType::kF16:
      return 1;
    case GgufDType::kBf16:
      return 32;
  }
  return 0;
}

// Whether llama.cpp reads the tensor in fp32 alone.
bool StaysInFp32(absl::string_view name, const Shape& shape) {
  return shape.size() < 2 || !absl::EndsWith(name, ".weight") ||
         absl::EndsWith(name, "_norm.weight") || absl::StrContains(name, ".ffn_gate_inp") ||
         absl::StrContains(name, ".ssm_conv1d");
}

// Everything, in the order of the model.
class Tensors {
 public:
  Tensors(const GgufArchitecture& architecture, const ModelConfig& model, GgufDType dtype)
      : architecture_(architecture), model_(model), dtype_(dtype), mixers_(MixersInFull(model)) {}

  void Add(const std::string& name, const Shape& shape) {
    if (name == "embedding.weight") {
      AddPart(name, shape, {.tensor = "token_embd.weight", .shape = shape});
      if (!model_.tie_embeddings || architecture_.ties_head) return;
    }
    if (name == "embedding.weight" || name == "head.weight") {
      return AddPart(name, shape, {.tensor = "output.weight", .shape = shape});
    }
    if (name == "final_norm.weight") {
      return AddPart(name, shape, Centred({.tensor = "output_norm.weight", .shape = shape}));
    }
    absl::string_view rest = name;
    const size_t dot = rest.find('.', rest.find('.') + 1);
    int64_t layer = -1;
    CHECK(absl::ConsumePrefix(&rest, "blocks.") && dot != absl::string_view::npos, name);
    const absl::string_view number = rest.substr(0, rest.find('.'));
    CHECK(absl::SimpleAtoi(number, &layer), name);
    rest.remove_prefix(number.size() + 1);
    std::vector<GgufPart> parts =
        architecture_.layer_parts(rest, shape, mixers_[static_cast<size_t>(layer)]);
    if (parts.empty()) left_out_.push_back({name, shape, {}});
    for (GgufPart& part : parts) {
      part.tensor = absl::StrCat("blk.", layer, ".", part.tensor);
      AddPart(name, shape, Centred(std::move(part)));
    }
  }

  const std::vector<Stored>& all() const { return all_; }
  // Those that must be zero.
  const std::vector<Stored::Source>& left_out() const { return left_out_; }

 private:
  // Every norm that a model keeps around zero but the mixers' output norms.
  GgufPart Centred(GgufPart part) const {
    if (model_.zero_centered_norms && absl::EndsWith(part.tensor, "_norm.weight") &&
        !absl::EndsWith(part.tensor, ".ssm_norm.weight")) {
      part.change = GgufChange::kPlusOne;
    }
    return part;
  }

  void AddPart(const std::string& name, const Shape& shape, GgufPart part) {
    const auto [place, is_new] = places_.emplace(part.tensor, all_.size());
    if (is_new) {
      const GgufDType dtype = StaysInFp32(part.tensor, part.shape) ? GgufDType::kF32 : dtype_;
      all_.push_back({.spec = {part.tensor, dtype, part.shape}, .sources = {}});
    }
    all_[place->second].sources.push_back({name, shape, std::move(part)});
  }

  const GgufArchitecture& architecture_;
  const ModelConfig& model_;
  const GgufDType dtype_;
  const std::vector<MixerConfig> mixers_;
  std::vector<Stored> all_;
  std::vector<Stored::Source> left_out_;
  std::map<std::string, size_t> places_;
};

// Puts the values of a part where `whole`, the tensor, has them.
void Place(const Stored::Source& source, const Tensor& parameter, std::vector<float>* whole) {
  const GgufPart& part = source.part;
  const int64_t count = part.count < 0 ? source.shape[0] : part.count;
  const int64_t width = NumElements(source.shape) / source.shape[0];
  const float* from = parameter.data<float>() + part.begin * width;
  const auto put = [&](int64_t at, float value) {
    if (part.change == GgufChange::kNegativeExp) value = -std::exp(value);
    if (part.change == GgufChange::kPlusOne) value += 1;
    (*whole)[static_cast<size_t>(at)] = value;
  };
  if (part.change == GgufChange::kTransposed) {
    const int64_t m = part.shape[1], n = part.shape[2];
    for (int64_t i = 0; i < count * width; ++i) {
      put(i / (m * n) * m * n + i % m * n + i / m % n, from[i]);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = part.rows.empty() ? i : part.rows[static_cast<size_t>(i)];
    for (int64_t j = 0; j < width; ++j) {
      const int64_t column = part.columns.empty() ? j : part.columns[static_cast<size_t>(j)];
      put(row * width + column, from[i * width + j]);
    }
  }
}

absl::Status WriteTensor(const GgufSpec& spec, const std::vector<float>& values,
                         GgufWriter* writer) {
  if (spec.dtype == GgufDType::kF32) {
    return writer->Write(spec.name, values.data(), values.size() * sizeof(float));
  }
  std::vector<uint16_t> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float x = values[i];
    rounded[i] = spec.dtype == GgufDType::kBf16 ? ToBf16(x).bits : FloatToHalf(x);
    if (spec.dtype == GgufDType::kF16 && std::isfinite(x) &&
        !std::isfinite(HalfToFloat(rounded[i]))) {
      return absl::OutOfRangeError(
          absl::StrCat(spec.name, " has the value ", x, ", and fp16 ends at 65504: --dtype bf16"));
    }
  }
  return writer->Write(spec.name, rounded.data(), rounded.size() * sizeof(uint16_t));
}

// The parameter that was read last.
struct Read {
  std::string name;
  Tensor values;
};

absl::Status ReadInto(const HfSource& source, const Stored::Source& wanted, Read* last) {
  if (last->name == wanted.name) return absl::OkStatus();
  *last = {};  // one parameter at a time
  ASSIGN_OR_RETURN(const Tensor read, source(wanted.name, wanted.shape));
  *last = {.name = wanted.name, .values = read.To(Device::kCpu).To(DType::kFloat32).Contiguous()};
  return absl::OkStatus();
}

absl::Status CheckLeftOut(const std::vector<Stored::Source>& left_out, const char* architecture,
                          const HfSource& source) {
  for (const Stored::Source& buffer : left_out) {
    Read read;
    RETURN_IF_ERROR(ReadInto(source, buffer, &read));
    const std::vector<float> values = read.values.ToVector<float>();
    if (std::all_of(values.begin(), values.end(), [](float x) { return x == 0; })) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(buffer.name, " is not zero, and llama.cpp's ", architecture,
                     " has no place for it: train such a model with train.balance_rate: 0"));
  }
  return absl::OkStatus();
}

GgufMetadata MetadataOf(const ModelConfig& m, const GgufArchitecture& architecture,
                        const std::string& path, const GgufOptions& options) {
  GgufMetadata all = {
      {"general.architecture", std::string(architecture.name)},
      {"general.type", std::string("model")},
      {"general.name", std::filesystem::path(path).stem().string()},
      {"general.file_type", FileType(options.dtype)},
      {"general.quantization_version", kQuantizationVersion},
  };
  GgufKeys keys(architecture.name);
  keys.Count("block_count", m.num_layers);
  keys.Count("context_length", options.context_length);
  keys.Count("embedding_length", m.hidden_size);
  keys.Count("feed_forward_length", m.IntermediateSize());
  keys.Count("vocab_size", m.vocab_size);
  keys.Real("attention.layer_norm_rms_epsilon", m.norm_eps);
  architecture.write(m, &keys);
  all.insert(all.end(), keys.metadata().begin(), keys.metadata().end());
  all.insert(all.end(), options.tokenizer.begin(), options.tokenizer.end());
  return all;
}

}  // namespace

absl::StatusOr<GgufSaved> SaveGguf(const ModelConfig& model, const HfSource& source,
                                   const std::string& path, const GgufOptions& options) {
  ASSIGN_OR_RETURN(const GgufArchitecture* architecture, FindGgufArchitecture(model));
  const std::unique_ptr<Model> declared = Model::Declare(model);
  Tensors tensors(*architecture, model, options.dtype);
  for (const Parameter* p : declared->parameters()) tensors.Add(p->name, p->shape);
  for (const ModelBuffer* buffer : declared->buffers()) tensors.Add(buffer->name, buffer->shape);
  RETURN_IF_ERROR(CheckLeftOut(tensors.left_out(), architecture->name, source));
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  if (normal.has_parent_path()) RETURN_IF_ERROR(MakeFolders(normal.parent_path().string()));
  const std::string target = normal.string();
  std::vector<GgufSpec> specs;
  for (const Stored& stored : tensors.all()) specs.push_back(stored.spec);
  ASSIGN_OR_RETURN(
      GgufWriter writer,
      GgufWriter::Create(target, MetadataOf(model, *architecture, target, options), specs));
  Read last;
  for (const Stored& stored : tensors.all()) {
    std::vector<float> whole(static_cast<size_t>(NumElements(stored.spec.shape)));
    for (const Stored::Source& part : stored.sources) {
      RETURN_IF_ERROR(ReadInto(source, part, &last));
      Place(part, last.values, &whole);
    }
    RETURN_IF_ERROR(WriteTensor(stored.spec, whole, &writer));
  }
  RETURN_IF_ERROR(writer.Finish());
  return GgufSaved{.architecture = architecture->name, .warnings = architecture->warnings(model)};
}

}  // namespace wyvern
