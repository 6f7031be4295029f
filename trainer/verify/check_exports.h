#ifndef WYVERN_TRAINER_VERIFY_CHECK_EXPORTS_H_
#define WYVERN_TRAINER_VERIFY_CHECK_EXPORTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/verify/card.h"

namespace wyvern {

// Writes the checkpoint's model as a folder of each Hugging Face family that can hold it, in fp32,
// makes a checkpoint of that, and compares its parameters and buffers. Both lie in `scratch` for
// that time. One row for each family.
absl::StatusOr<std::vector<ExportCheck>> CheckExports(const std::string& checkpoint,
                                                      const std::string& scratch);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_VERIFY_CHECK_EXPORTS_H_
