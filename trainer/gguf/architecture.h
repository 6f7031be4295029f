// An architecture of llama.cpp: how its metadata and its tensors describe a model. One architecture
// is one file and one row in architecture.cc.
#ifndef WYVERN_TRAINER_GGUF_ARCHITECTURE_H_
#define WYVERN_TRAINER_GGUF_ARCHITECTURE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/io/gguf.h"
#include "layers/model.h"

namespace wyvern {

// How a parameter's values change on their way into the file.
enum class GgufChange {
  kNone,
  kNegativeExp,  // -exp(x): llama.cpp keeps the rate, not its logarithm
  kPlusOne,      // of norms whose weights lie around zero
  kTransposed    // the tensor's last two axes are in the other order here
};

// A tensor of a layer, and which part of a parameter or buffer lies in it. Several parameters may
// lie in different rows of one tensor; together they are all of it.
struct GgufPart {
  std::string tensor;  // what follows "blk.N."
  Shape shape;         // of the tensor
  // Rows of the parameter: `count` of them from `begin` on; -1: all.
  int64_t begin = 0, count = -1;
  // The i-th of these is row rows[i] of the tensor; empty: the values as they lie.
  std::vector<int64_t> rows = {};
  // Column j of a matrix is column columns[j] of the tensor; empty: the values as they lie.
  std::vector<int64_t> columns = {};
  GgufChange change = GgufChange::kNone;
};

// The keys of an architecture, which begin with its name.
class GgufKeys {
 public:
  explicit GgufKeys(std::string architecture) : architecture_(std::move(architecture)) {}

  void Count(absl::string_view key, int64_t value);
  void Real(absl::string_view key, double value);
  void Add(absl::string_view key, GgufValue value);

  const GgufMetadata& metadata() const { return metadata_; }

 private:
  std::string architecture_;
  GgufMetadata metadata_;
};

struct GgufArchitecture {
  const char* name;       // general.architecture
  const char* family;     // the Hugging Face family whose models it has: WhyNotAs
  bool ties_head = true;  // false: a tied head is written as a copy
  // Why llama.cpp cannot hold a model that the family can, in the words of the family's WhyNotAs.
  std::vector<std::string> (*why_not)(const ModelConfig& m);
  // Where llama.cpp computes a little differently, one sentence each.
  std::vector<std::string> (*warnings)(const ModelConfig& m);
  // Adds the keys that other architectures do not share. Requires an empty why_not.
  void (*write)(const ModelConfig& m, GgufKeys* keys);
  // The tensors that hold a layer's parameter or buffer. `name` is what follows "blocks.N.". None:
  // the file has no place for it, and it is zero.
  std::vector<GgufPart> (*layer_parts)(absl::string_view name, const Shape& shape,
                                       const MixerConfig& mixer);
};

extern const GgufArchitecture kGgufLlama, kGgufQwen3, kGgufQwen3Next, kGgufQwen35, kGgufKimiLinear;

// The architecture that holds the model. FailedPrecondition names the one that is nearest to it,
// and the first reason why it does not.
absl::StatusOr<const GgufArchitecture*> FindGgufArchitecture(const ModelConfig& model);

// ---- what architectures say their tensors with --------------------------------------------------

// The tensor of a parameter that lies in one as it is, by the names that all architectures share.
GgufPart PlainGgufPart(absl::string_view name, const Shape& shape);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_GGUF_ARCHITECTURE_H_
