#include "layers/mlp.h"

#include "autograd/ops/swiglu.h"

namespace wyvern {

Mlp::Mlp(const ModelConfig& model)
    : gate_proj_(model.hidden_size, model.IntermediateSize(), model.initializer_range,
                 model.mlp_bias),
      up_proj_(model.hidden_size, model.IntermediateSize(), model.initializer_range,
               model.mlp_bias),
      down_proj_(model.IntermediateSize(), model.hidden_size, model.initializer_range,
                 model.mlp_bias) {
  AddChild("gate_proj", &gate_proj_);
  AddChild("up_proj", &up_proj_);
  AddChild("down_proj", &down_proj_);
}

Var Mlp::Forward(Tape& tape, const Var& x) const {
  const Var gate = gate_proj_.Forward(tape, x), up = up_proj_.Forward(tape, x);
  return down_proj_.Forward(tape, tape.Apply<SwiGlu>({.gate = gate, .up = up}, {}).y);
}

}  // namespace wyvern
