// How messages of data/ name what they are about, on the command line of `wyvern data`.
#ifndef WYVERN_TRAINER_COMMANDS_DATA_OPTIONS_H_
#define WYVERN_TRAINER_COMMANDS_DATA_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// Puts the option that the user types in the place of a field of the options that the text begins
// with, and of advice that names a key of a configuration.
std::string NameOptions(absl::string_view text);
absl::Status NameOptions(const absl::Status& status);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_DATA_OPTIONS_H_
