#ifndef WYVERN_LAYERS_MLP_H_
#define WYVERN_LAYERS_MLP_H_

#include "layers/linear.h"
#include "layers/model_config.h"

namespace wyvern {

// SwiGLU (arXiv 2002.05202): y = (silu(x W_gate) * x W_up) W_down.
class Mlp : public Module {
 public:
  explicit Mlp(const ModelConfig& model);
  // An MLP of another width, without biases.
  Mlp(const ModelConfig& model, int64_t intermediate_size);
  // x [T, D] -> [T, D]. The caller does not use x afterwards: its memory may be freed.
  Var Forward(Tape& tape, const Var& x) const;

 private:
  Mlp(const ModelConfig& model, int64_t intermediate_size, bool bias);

  Linear gate_proj_, up_proj_, down_proj_;
  LinearGroup gate_up_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MLP_H_
