// The family on the meta device: kernels do nothing, but count the memory that they would take for
// themselves where that is more than a trifle, and tell the plan that they would follow.
#include "kernels/head/embedding.h"
#include "kernels/head/linear_cross_entropy.h"
#include "kernels/head/token_scores.h"

namespace wyvern {

void TokenScores(MetaTag, const TokenScoresParams&) {}

template <typename Io>
void EmbeddingFwd(MetaTag, const EmbeddingFwdParams<Io>&) {}
template <typename Io>
void EmbeddingBwd(MetaTag, const EmbeddingBwdParams<Io>&) {}
template <typename Io>
void CrossEntropyFwd(MetaTag, const CrossEntropyFwdParams<Io>&) {}
template <typename Io>
void CrossEntropyBwd(MetaTag, const CrossEntropyBwdParams<Io>&) {}
template <typename Io>
void MeanLoss(MetaTag, const MeanLossParams<Io>&) {}

template void EmbeddingFwd(MetaTag, const EmbeddingFwdParams<float>&);
template void EmbeddingFwd(MetaTag, const EmbeddingFwdParams<Bf16>&);
template void EmbeddingBwd(MetaTag, const EmbeddingBwdParams<float>&);
template void EmbeddingBwd(MetaTag, const EmbeddingBwdParams<Bf16>&);
template void CrossEntropyFwd(MetaTag, const CrossEntropyFwdParams<float>&);
template void CrossEntropyFwd(MetaTag, const CrossEntropyFwdParams<Bf16>&);
template void CrossEntropyBwd(MetaTag, const CrossEntropyBwdParams<float>&);
template void CrossEntropyBwd(MetaTag, const CrossEntropyBwdParams<Bf16>&);
template void MeanLoss(MetaTag, const MeanLossParams<float>&);
template void MeanLoss(MetaTag, const MeanLossParams<Bf16>&);

}  // namespace wyvern
