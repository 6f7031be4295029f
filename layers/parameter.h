#ifndef WYVERN_LAYERS_PARAMETER_H_
#define WYVERN_LAYERS_PARAMETER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace wyvern {

// What a parameter is, for weight decay and for initialisation.
enum class ParameterKind { kEmbedding, kMatrix, kConvolution, kNorm, kBias, kALog, kDtBias };

// One trained tensor. The optimizer updates `master`; ops read `value`, which is the same tensor
// when the compute type is the master's (CPU, and small parameters everywhere) and its bf16 copy
// otherwise. Gradients gather in `grad`.
struct Parameter {
  std::string name;  // "blocks.3.mixer.q_proj.weight"
  ParameterKind kind = ParameterKind::kMatrix;
  Tensor value;   // compute type
  Tensor master;  // fp32 (fp64 in an fp64 model)
  Tensor grad;    // like master
  Var var;        // value and grad on the tape

  // Copies the master into the value where they differ; after init, load or an outside change.
  void SyncValue() const;
};

// Owns parameters and child modules by name. Forward functions are each module's own.
class Module {
 public:
  virtual ~Module() = default;
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // All parameters of this module and its children, depth first in order of registration, with
  // dotted names relative to this module.
  std::vector<Parameter*> parameters();

 protected:
  struct Spec {
    Shape shape;
    ParameterKind kind;
    // Writes the initial fp32 or fp64 values on the CPU; the second argument is the seed.
    std::function<void(const Tensor& master, uint64_t seed, const std::string& name)> init;
  };
  Parameter* AddParameter(const std::string& name, Spec spec);
  void AddChild(const std::string& name, Module* child);

 private:
  friend class Model;
  struct Child {
    std::string name;
    Module* module;
  };
  std::vector<std::unique_ptr<Parameter>> own_;
  std::vector<Spec> specs_;
  std::vector<Child> children_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_PARAMETER_H_
