// Verifies a recipe on this machine.
#ifndef WYVERN_TRAINER_VERIFY_VERIFY_H_
#define WYVERN_TRAINER_VERIFY_VERIFY_H_

#include <cstdint>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/config/run_config.h"
#include "trainer/verify/card.h"

namespace wyvern {

struct VerifyOptions {
  std::string recipe;            // as the user names it
  int64_t max_tokens = 256;      // of the batch whose logits and gradients are compared
  std::set<std::string> checks;  // of "resume", "exports", "numbers", "speed"; empty: all
};

// Trains the recipe's model a few steps on random documents, in `scratch`, which exists, and checks
// what it has learnt: a run resumed is the run uninterrupted; each export is read back; logits and
// gradients are the CPU's; how fast a step is. Checks that fail are in the card. Errors: what could
// not be checked.
absl::StatusOr<Card> VerifyRecipe(const RunConfig& recipe, const VerifyOptions& options,
                                  const std::string& scratch);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_VERIFY_VERIFY_H_
