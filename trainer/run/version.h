#ifndef WYVERN_TRAINER_RUN_VERSION_H_
#define WYVERN_TRAINER_RUN_VERSION_H_

#include <string>

namespace wyvern {

// "0.1.0 (06c717100c1f)", with the commit that was built, "-dirty" behind it if files had changed,
// or "no commit".
std::string Version();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_VERSION_H_
