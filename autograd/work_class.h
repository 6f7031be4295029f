// The class of work that a profiler's span belongs to: the rows of `wyvern bench step` and of
// `wyvern plan`.
#ifndef WYVERN_AUTOGRAD_WORK_CLASS_H_
#define WYVERN_AUTOGRAD_WORK_CLASS_H_

namespace wyvern {

// In the order of the tables.
enum class WorkClass {
  kMatmul,
  kHead,
  kDeltaRule,
  kLinearAttention,
  kAttention,
  kExperts,
  kRouting,
  kConvolution,
  kNorm,
  kPointwise,
  kEmbedding,
  kAdamW,
  kNewtonSchulz,
  kMuon,
  kCopies,
  kOther,
};

constexpr const char* Name(WorkClass work_class) {
  switch (work_class) {
    case WorkClass::kMatmul:
      return "matrix products";
    case WorkClass::kHead:
      return "head, cross-entropy";
    case WorkClass::kDeltaRule:
      return "delta rule";
    case WorkClass::kLinearAttention:
      return "linear attention";
    case WorkClass::kAttention:
      return "attention";
    case WorkClass::kExperts:
      return "experts";
    case WorkClass::kRouting:
      return "routing";
    case WorkClass::kConvolution:
      return "convolution";
    case WorkClass::kNorm:
      return "norms";
    case WorkClass::kPointwise:
      return "element-wise";
    case WorkClass::kEmbedding:
      return "embedding";
    case WorkClass::kAdamW:
      return "gradient norm, AdamW";
    case WorkClass::kNewtonSchulz:
      return "Newton-Schulz";
    case WorkClass::kMuon:
      return "Muon, QK-clip";
    case WorkClass::kCopies:
      return "zeroing, copies";
    case WorkClass::kOther:
      return "other";
  }
  return "?";
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_WORK_CLASS_H_
