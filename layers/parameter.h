#ifndef WYVERN_LAYERS_PARAMETER_H_
#define WYVERN_LAYERS_PARAMETER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace wyvern {

// A parameter's kind decides on its weight decay and initialisation.
// An expert's matrices are slices [e] of one parameter of kExperts.
enum class ParameterKind {
  kEmbedding,
  kMatrix,
  kExperts,
  kRouter,
  kConvolution,
  kNorm,
  kBias,
  kALog,
  kDtBias
};

// Whether parameters of this kind are kept in the compute dtype; every other one is small and stays
// in the accumulation dtype.
bool IsLarge(ParameterKind kind);

class FlatParameters;
struct ParameterGroup;

// One trained tensor. The optimizer updates `master`, the master weights. Ops read `value`: the
// same tensor when the compute dtype is the master's (CPU, and small parameters everywhere), its
// bf16 compute copy otherwise. Gradients gather in `grad`. All are views of the buffers in `flat`.
// In a sharded model (layers/unit.h) this rank has a slice of the master weights alone, and value
// and gradient are there between a unit's hooks only.
struct Parameter {
  std::string name;  // "blocks.3.mixer.q_proj.weight"
  ParameterKind kind = ParameterKind::kMatrix;
  Shape shape;
  // Where experts are partitioned over ranks (Model::Create), `shape` is this rank's part: slices
  // [first_slice, first_slice + shape[0]) of a tensor of whole_shape. Otherwise that is `shape`.
  Shape whole_shape;
  int64_t first_slice = 0;
  Tensor value;   // compute dtype
  Tensor master;  // fp32 (fp64 in an fp64 model); undefined: a bf16 parameter that is not trained,
                  // or a sharded one
  Tensor grad;    // like master; undefined when the model is not trained; read it as var.grad()
  Var var;        // value and grad on the tape
  std::shared_ptr<ParameterGroup> group;  // null: alone
  int64_t first_row = 0;                  // in the group
  FlatParameters* flat = nullptr;         // where it lies; null without memory

  // Rounds the master weights into the compute copy where they differ; after init, load or an
  // outside change. Not for a sharded parameter.
  void SyncValue() const;
  // Zeroes the gradient as Var::ClearGrad does; that of the whole group if there is one.
  void ClearGrad() const;
  // Sets master weights and compute copy, or this rank's slice of them. `from` has the parameter's
  // shape, any floating type and any device.
  void Assign(const Tensor& from) const;
};

// Parameters of one kind that lie one after another in memory, value and gradient, so that an op
// can take them as one: rows of `shape`, in the order given. Each stays a parameter with its own
// name.
struct ParameterGroup {
  Shape shape;
  Tensor value, grad;
  Var var;

  // To be called before the parameters get their memory; they agree in all axes but the first.
  static std::shared_ptr<ParameterGroup> Of(const std::vector<Parameter*>& parameters);
};

// State that a model carries beside its parameters: no gradient, no weight decay, whole and the
// same on every rank of a run. Zero at the start.
struct ModelBuffer {
  std::string name;  // "blocks.3.moe.router.bias"
  Shape shape;
  Tensor value;  // accumulation dtype, on the model's device
};

// Owns parameters, buffers and child modules by name. Forward functions are each module's own.
class Module {
 public:
  virtual ~Module() = default;
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // All parameters of this module and its children, depth first in order of registration. Their
  // dotted names start at the outermost module.
  std::vector<Parameter*> parameters();
  // All buffers, likewise.
  std::vector<ModelBuffer*> buffers();

 protected:
  // Everything that initial values depend on beside the parameter's name.
  struct InitContext {
    uint64_t seed = 0;
    double initializer_range = 0;  // standard deviation of InitNormal
  };
  // Writes initial values into a tensor of fp32 or fp64; a pure function of context and name.
  using Init = std::function<void(const Tensor& values, const InitContext& context,
                                  const std::string& name)>;
  struct Spec {
    Shape shape;
    ParameterKind kind;
    Init init;                // writes the whole of a parameter
    Shape whole_shape = {};   // as in Parameter; empty: `shape`
    int64_t first_slice = 0;  // likewise
  };
  // Declares a parameter; its model gives it memory.
  Parameter* AddParameter(const std::string& name, Spec spec);
  // Declares a buffer, likewise.
  ModelBuffer* AddBuffer(const std::string& name, Shape shape);
  // Adds a module that has all its own parameters, buffers and children already.
  void AddChild(const std::string& name, Module* child);

  static Init InitNormal();
  static Init InitConstant(double value);
  // log u with u uniform in (low, high].
  static Init InitLogUniform(double low, double high);
  // Inverse softplus of dt, log dt uniform in [log 0.001, log 0.1] (Mamba's time steps).
  static Init InitDtBias();

 private:
  friend class Model;
  using Visitor = std::function<void(Parameter& parameter, const Spec& spec)>;
  void Visit(const Visitor& visitor);
  void Prefix(const std::string& prefix);
  void Initialize(const InitContext& context);

  std::vector<std::unique_ptr<Parameter>> own_;
  std::vector<Spec> specs_;  // of own_
  std::vector<std::unique_ptr<ModelBuffer>> own_buffers_;
  std::vector<Module*> children_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_PARAMETER_H_
