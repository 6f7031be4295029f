// The families; each is defined in the file of its name.
#ifndef WYVERN_TRAINER_HF_FAMILIES_REGISTRY_H_
#define WYVERN_TRAINER_HF_FAMILIES_REGISTRY_H_

#include "trainer/hf/hf_family.h"

namespace wyvern {

// flash-linear-attention ("FLA").
extern const HfFamily kDeltaNetFamily;
extern const HfFamily kGatedDeltaNetFamily;
extern const HfFamily kKdaFamily;
extern const HfFamily kGlaFamily;
extern const HfFamily kTransformerFamily;
// Hugging Face transformers.
extern const HfFamily kLlamaFamily;
extern const HfFamily kMamba2Family;
extern const HfFamily kMistralFamily;
extern const HfFamily kQwen3Family;
extern const HfFamily kQwen3NextFamily;
extern const HfFamily kQwen35Family;
extern const HfFamily kOlmoHybridFamily;
extern const HfFamily kKimiLinearFamily;
extern const HfFamily kBailingHybridFamily;
// Any model, with code of its own.
extern const HfFamily kWyvernFamily;

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_FAMILIES_REGISTRY_H_
