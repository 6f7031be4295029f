#include "layers/mlp.h"

#include "autograd/ops/pointwise/swiglu.h"

namespace wyvern {

Mlp::Mlp(const ModelConfig& model) : Mlp(model, model.IntermediateSize(), model.mlp_bias) {}

Mlp::Mlp(const ModelConfig& model, int64_t intermediate_size)
    : Mlp(model, intermediate_size, /*bias=*/false) {}

Mlp::Mlp(const ModelConfig& model, int64_t intermediate_size, bool bias)
    : gate_proj_(model.hidden_size, intermediate_size, bias),
      up_proj_(model.hidden_size, intermediate_size, bias),
      down_proj_(intermediate_size, model.hidden_size, bias),
      gate_up_({&gate_proj_, &up_proj_}) {
  AddChild("gate_proj", &gate_proj_);
  AddChild("up_proj", &up_proj_);
  AddChild("down_proj", &down_proj_);
}

Var Mlp::Forward(Tape& tape, const Var& x) const {
  const Var both = gate_up_.Forward(tape, x);
  tape.Discard({x});
  const Var y =
      tape.Apply<SwiGlu>(
              {.gate = gate_up_.Part(both, gate_proj_), .up = gate_up_.Part(both, up_proj_)}, {})
          .y;
  const Var out = down_proj_.Forward(tape, y);
  tape.Discard({y});
  return out;
}

}  // namespace wyvern
